/** What a webhook is told, over real HTTP: in order, with deadlines and bounded tries, without the run waiting. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { Secrets } from "../../monitor/server/secrets.js";
import { Webhook, type WebhookMessage, type WebhookOptions } from "../../monitor/server/webhook.js";
import { fakeRun } from "../actors/fake-run.js";
import { parityReward } from "../e2e/tiny-run.js";
import { factOf, type Told } from "../helpers/facts.js";
import { alert } from "./support.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

interface Received {
  readonly message: WebhookMessage;
  readonly authorization: string | undefined;
}

/** A receiver; `answer` says what becomes of the nth request, from 0. */
async function receiver(answer: (n: number, response: ServerResponse) => void = (_, response) => response.end()) {
  const received: Received[] = [];
  let waiting: (() => void)[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const n = received.length;
    received.push({
      message: JSON.parse(Buffer.concat(chunks).toString()) as WebhookMessage,
      authorization: request.headers.authorization,
    });
    answer(n, response);
    for (const tell of waiting) tell();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const reached = (count: number) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (received.length < count) return;
        waiting = waiting.filter((one) => one !== look);
        resolve();
      };
      waiting.push(look);
      look();
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received, reached };
}

function webhook(url: string, over: Partial<WebhookOptions> = {}) {
  const lost: string[] = [];
  const slept: number[] = [];
  const hook = new Webhook({
    ...{ url, minLevel: "warn", timeoutMs: 2_000, retries: 2, run: "r1", secrets: new Secrets() },
    lost: (event, reason) => lost.push(`${event}: ${reason}`),
    sleep: async (ms) => void slept.push(ms),
    ...over,
  });
  let seq = 0;
  const tell = (...told: readonly Told[]) => {
    for (const one of told) hook.fact(factOf(++seq, one));
  };
  return { hook, lost, slept, tell };
}

const ROLLED_BACK: Told = [
  "run.rolledBack",
  4,
  {
    ...{ fromStep: 6, toStep: 4, reason: "KL 0.9", rule: "kl_limit", undone: 24, count: 1 },
    by: { kind: "guard", name: "kl_limit" },
  },
];

describe("a webhook", () => {
  it("tells alarms with their ends, rollbacks, pauses and the end of the run, in order", async () => {
    const { url, received } = await receiver();
    const { hook, tell, lost } = webhook(url, { token: "s3cret-token" });
    const raised = alert(4);
    tell(
      ["alert.raised", 4, { alert: raised }],
      ["alert.ended", 6, { id: raised.id, rule: raised.rule, metric: raised.metric, fromStep: 4, toStep: 5, worst: 2 }],
      ROLLED_BACK,
      ["lifecycle.changed", 6, { machine: "lifecycle", value: "paused" }],
      ["lifecycle.changed", 6, { machine: "lifecycle", value: { operating: "training" } }],
      ["run.finished", 8, { status: "failed", error: "the disk is full" }],
    );
    await hook.close();
    expect(received.map(({ message }) => [message.event, message.level, message.step])).toEqual([
      ["alarm.began", raised.level, 4],
      ["alarm.ended", raised.level, 6],
      ["run.rolledBack", "warn", 4],
      ["run.paused", "warn", 6],
      ["run.finished", "error", 8],
    ]);
    expect(received[0]?.message).toEqual({
      ...{ schema_version: 1, run: "r1", event: "alarm.began", level: raised.level, text: raised.text, step: 4 },
      time: 10_001,
      data: raised,
    });
    expect(received[4]?.message.text).toBe("the run failed: the disk is full");
    expect(new Set(received.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer s3cret-token"]));
    expect(lost).toEqual([]);
  });

  it("leaves out alarms below the level, and their ends", async () => {
    const { url, received } = await receiver();
    const { hook, tell } = webhook(url, { minLevel: "error" });
    const [low, high] = [
      { ...alert(1), id: "low", level: "warn" as const },
      { ...alert(2), id: "high", level: "error" as const },
    ];
    const end = (id: string): Told => [
      "alert.ended",
      3,
      { id, rule: low.rule, metric: low.metric, fromStep: 1, toStep: 2, worst: null },
    ];
    tell(["alert.raised", 1, { alert: low }], ["alert.raised", 2, { alert: high }], end("low"), end("high"));
    await hook.close();
    expect(received.map(({ message }) => message.event)).toEqual(["alarm.began", "alarm.ended"]);
  });

  it("tries again after a fault of the receiver, with growing pauses, and keeps the order", async () => {
    const { url, received } = await receiver((n, response) => response.writeHead(n < 2 ? 503 : 200).end());
    const { hook, tell, lost, slept } = webhook(url);
    tell(["alert.raised", 1, { alert: alert(1) }], ROLLED_BACK);
    await hook.close();
    expect(received.map(({ message }) => message.event)).toEqual([
      ...["alarm.began", "alarm.began", "alarm.began"],
      "run.rolledBack",
    ]);
    expect(slept).toEqual([500, 1_000]);
    expect(lost).toEqual([]);
  });

  it("gives a message up after its tries, and one that the receiver does not want at once", async () => {
    const { url, received } = await receiver((n, response) => response.writeHead(n < 3 ? 500 : 400).end());
    const { hook, tell, lost } = webhook(url);
    tell(["alert.raised", 1, { alert: alert(1) }], ROLLED_BACK);
    await hook.close();
    expect(received).toHaveLength(4);
    expect(lost).toEqual(["alarm.began: the receiver answered 500", "run.rolledBack: the receiver answered 400"]);
  });

  it("gives up a receiver that never answers, at its deadline", async () => {
    const { url } = await receiver(() => undefined);
    const { hook, tell, lost } = webhook(url, { timeoutMs: 20, retries: 1 });
    tell(ROLLED_BACK);
    await hook.close();
    expect(lost).toEqual([expect.stringMatching(/^run\.rolledBack: .*(timeout|aborted)/i)]);
  });

  it("holds a bounded number of messages for a receiver that is slow, and gives up the oldest", async () => {
    const held: ServerResponse[] = [];
    const { url, received, reached } = await receiver((n, response) =>
      n === 0 ? held.push(response) : response.end(),
    );
    const { hook, tell, lost } = webhook(url);
    tell(ROLLED_BACK);
    await reached(1);
    for (let step = 1; step <= 103; step++)
      tell(["alert.raised", step, { alert: { ...alert(step), id: `a${step}`, level: "error" } }]);
    expect(lost).toEqual(Array.from({ length: 3 }, () => "alarm.began: 100 messages wait already"));
    held[0]?.end();
    await hook.close();
    expect(received).toHaveLength(101);
    expect(received[1]?.message.step).toBe(4);
  });

  it("masks secrets in what it tells", async () => {
    const { url, received } = await receiver();
    const secrets = new Secrets();
    secrets.add("hunter2hunter2");
    const { hook, tell } = webhook(url, { secrets });
    tell(["run.finished", 1, { status: "failed", error: "401 for key hunter2hunter2" }]);
    await hook.close();
    expect(JSON.stringify(received[0]?.message)).not.toContain("hunter2");
    expect(received[0]?.message.text).toBe("the run failed: 401 for key •••");
  });

  it("is told by a run, which goes on although the receiver never answers", async () => {
    const dead = await receiver(() => undefined);
    const { url, received } = await receiver();
    const onePhase = { phases: [{ maxTokens: 300, steps: 3 }], update: { miniBatchPrompts: null } };
    const watched = await fakeRun({ ...onePhase, monitor: { enabled: false, webhook: { url } } }, parityReward);
    const paused = new Promise<void>((resolve) => {
      watched.system.state$.subscribe(({ lifecycle }) => lifecycle === "paused" && resolve());
    });
    watched.system.facts$.subscribe((fact) => {
      if (fact.type === "step.committed" && fact.step === 1) watched.system.pause();
    });
    await watched.system.start();
    await paused;
    watched.system.resume();
    await watched.system.done;
    expect(received.map(({ message }) => [message.event, message.run])).toEqual([
      ["run.paused", "tiny"],
      ["run.finished", "tiny"],
    ]);

    const stuck = await fakeRun(
      { ...onePhase, monitor: { enabled: false, webhook: { url: dead.url, timeoutMs: 50, retries: 0 } } },
      parityReward,
    );
    await stuck.system.start();
    expect(await stuck.system.done).toMatchObject({ status: "completed" });
  });
});
