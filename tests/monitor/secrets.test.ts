/** Keys and tokens of a run are on no page, in no answer, log line or close reason, whoever repeats them. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { MonitorHub, startMonitor } from "../../monitor/server/index.js";
import { Secrets } from "../../monitor/server/secrets.js";
import { writeRollouts } from "../../src/store/index.js";
import { alert, RawClient, trace } from "./support.js";

const KEY = "sk-live-4f9a/77+q";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

describe("secrets of a run", () => {
  it("are masked wherever a judge or an error could quote them", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-secrets-"));
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    const echo = `401: wrong key "${KEY}" (${encodeURIComponent(KEY)})`;
    await mkdir(join(folder, "rollouts"));
    await writeRollouts(join(folder, "rollouts"), 1, [
      trace("s1-q0-g0", { outcome: { kind: "abstained", reason: echo }, reward: null }),
    ]);
    const hub = new MonitorHub();
    hub.useFolder(folder);
    hub.secrets.add(KEY, null);
    hub.publishRun({ id: "r1", status: "failed", note: echo });
    hub.publishLog({ level: "error", text: echo });
    hub.publishAlert(alert(1, echo));
    hub.publishTrace(trace("t-1", { outcome: { kind: "failed", code: "WEIR_E_JUDGE", reason: echo }, reward: null }));
    hub.publishTrace(trace("t-2", { outcome: { kind: "scored", value: 1, parts: {}, prediction: echo } }));
    const monitor = await startMonitor({ source: hub });
    cleanups.push(() => monitor.close());
    const client = await RawClient.open(monitor);
    const channels = ["run", "logs", "alerts", "traces", "trace/t-1", "trace/t-2", "trace/s1-q0-g0"];
    for (const channel of channels) client.subscribe(channel);
    for (const channel of channels) await client.next("snapshot", (one) => one.channel === channel && one.last);
    const paths = ["/v2/runs", "/v2/alerts", "/v2/traces", "/v2/traces/t-1", "/v2/traces/t-2", "/v2/traces/s1-q0-g0"];
    const answers = await Promise.all(paths.map(async (path) => (await fetch(new URL(path, monitor.url))).text()));
    const everything = JSON.stringify(client.heard) + answers.join("");
    expect(everything).toContain("wrong key");
    expect(everything).toContain("•••");
    expect(everything).not.toContain(KEY);
    expect(everything).not.toContain(encodeURIComponent(KEY));
  });

  it("a token is in no refusal, ticket, close reason or health check", async () => {
    const token = "tok-0123456789";
    const monitor = await startMonitor({ source: new MonitorHub(), token });
    cleanups.push(() => monitor.close());
    const headers = { authorization: `Bearer ${token}` };
    const said: string[] = [];
    for (const [path, init] of [
      ["/v2/runs", {}],
      ["/v2/runs", { headers: { authorization: "Bearer wrong" } }],
      ["/healthz", {}],
      ["/metrics", { headers }],
      ["/v2/tickets", { method: "POST", headers }],
    ] as const) {
      const answer = await fetch(new URL(path, monitor.url), init);
      said.push(JSON.stringify([...answer.headers]), await answer.text());
    }
    const client = await RawClient.open(monitor, { headers });
    client.send({ type: token });
    await client.closing();
    said.push(JSON.stringify(client.heard), client.closed?.reason ?? "");
    expect(said.join("\n")).not.toContain(token);
  });

  it("words that are too short to be keys stay, and one key within another does not break it", () => {
    const secrets = new Secrets();
    secrets.add("key", "", "secret-one", "secret-one-longer");
    expect(secrets.text("the key is secret-one-longer or secret-one")).toBe("the key is ••• or •••");
  });
});
