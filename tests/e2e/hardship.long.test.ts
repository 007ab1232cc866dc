import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { mean } from "../../src/algorithms/statistics.js";
import type { Fact } from "../../src/contracts/fact.js";
import { JudgeServer, type Reaction, reply, silence } from "../rewards/judge-server.js";
import { actorChanges } from "./engines-run.js";
import type { Endured, Hardship } from "./hardship-driver.js";
import { endStates } from "./tiny-run.js";

/**
 * Runs with overlap and two sampler engines that have a hard time, each in processes of its own: a slow reward, a judge that hangs,
 * samplers that are killed.
 */

const DRIVER = fileURLToPath(new URL("./hardship-driver.ts", import.meta.url));
const POLICIES = `/dev/shm/weir-policies-${process.getuid?.()}`;
const MAX_LAG = 2;
const GROUPS_PER_STEP = 3;
/** Growth of the heap that is not a leak: caches and compiled code, which come to rest, MiB. */
const HEAP_SLACK_MIB = 3;

let runs = 0;

/** Runs to the end, and checks what has to hold of every run. */
async function endure(steps: number, hardship: Partial<Hardship>): Promise<Endured> {
  const folder = await mkdtemp(join(tmpdir(), "weir-hardship-"));
  const id = `hardship-${process.pid}-${runs++}`;
  const whole: Hardship = { rewardMs: 0, judge: null, kills: 0, ...hardship };
  const args = ["--expose-gc", "--import", "tsx", DRIVER, folder, id, String(steps), JSON.stringify(whole)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  expect(code).toBe(0);
  const endured = JSON.parse(said.trim().split("\n").at(-1) as string) as Endured;
  await assertIntact(endured, steps);
  // Policies lay there under the run's name; another run may hold the folder.
  const policies = existsSync(POLICIES) ? readdirSync(POLICIES) : [];
  expect(policies.filter((name) => name.startsWith(id))).toEqual([]);
  return endured;
}

/** Completed, each queue within its bound, each rollout with one end, nothing older than the bound of lag, memory flat, no process left. */
async function assertIntact(endured: Endured, steps: number): Promise<void> {
  const { status, runDirectory, gauges, engines, heap } = endured;
  expect(status).toBe("completed");
  for (const { name, highWater, bound } of gauges) expect(highWater, `queue ${name}`).toBeLessThanOrEqual(bound);
  expect(gauges.find(({ name }) => name === "groups")?.passed).toBeGreaterThanOrEqual(steps * GROUPS_PER_STEP);
  const ends = [...(await endStates(runDirectory))];
  const trained = ends.flatMap(([id, end]) => (end === "trained" ? [id.replace(/-g\d+$/, "")] : []));
  expect(new Set(trained).size).toBe(steps * GROUPS_PER_STEP);
  const facts = await factsOf(runDirectory);
  const lags = facts.flatMap(({ type, data }) =>
    type === "metrics.recorded" && "lag/max" in data.values ? [data.values["lag/max"] as number] : [],
  );
  expect(lags).toHaveLength(steps);
  expect(Math.max(...lags)).toBeLessThanOrEqual(MAX_LAG);
  const half = Math.floor(heap.length / 2);
  const [before, after] = [heap.slice(half - half / 2, half), heap.slice(-half / 2)].map(
    (part) => mean(part) / 2 ** 20,
  );
  expect(after).toBeLessThan((before as number) + HEAP_SLACK_MIB);
  for (const pid of engines) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
}

async function factsOf(runDirectory: string): Promise<readonly Fact[]> {
  const journal = await readFile(join(runDirectory, "journal.ndjson"), "utf8");
  return journal
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Fact);
}

describe("a run with two sampler engines and overlap", () => {
  let server: JudgeServer | null = null;
  afterEach(async () => {
    await server?.stop();
    server = null;
  });

  it("I4: with a reward that is ten times as slow, holds no more in its queues and in memory", async () => {
    const quick = await endure(14, { rewardMs: 20 });
    const slow = await endure(14, { rewardMs: 200 });
    expect(Object.keys(slow.outcomes)).toEqual(["scored"]);
    const held = ({ heap }: Endured) => (heap.at(-1) as number) / 2 ** 20;
    expect(Math.abs(held(slow) - held(quick))).toBeLessThan(HEAP_SLACK_MIB);
  });

  it("I1, I5: with a judge that hangs for a while, leaves those rewards out and goes on", async () => {
    const verdict: Reaction = (response, seen) => {
      const asked = seen.body.messages.map(({ content }) => content).join("\n");
      reply(asked.includes("capital of Norway") ? "[[YES]]" : "[[NO]]")(response, seen);
    };
    const hanging = 40;
    server = await JudgeServer.start(
      ...new Array<Reaction>(60).fill(verdict),
      ...new Array<Reaction>(hanging).fill(silence),
      verdict,
    );
    const { outcomes, runDirectory } = await endure(14, { judge: server.url });
    expect(Object.keys(outcomes).sort()).toEqual(["scored", "timedOut"]);
    // A machine under load may leave out an answer more.
    expect(outcomes.timedOut).toBeGreaterThanOrEqual(hanging);
    const ends = [...(await endStates(runDirectory)).values()];
    expect(ends.filter((end) => end === "dropped:reward_timedOut").length).toBeGreaterThanOrEqual(hanging);
  });

  it("goes on while one sampler after another is killed", async () => {
    const kills = 4;
    const { killed, engines, actors, runDirectory } = await endure(20, { rewardMs: 50, kills });
    expect(killed).toBe(kills);
    expect(engines.length).toBeGreaterThanOrEqual(kills + 2);
    const changes = await actorChanges(runDirectory);
    const restarting = changes.filter((change) => "state" in change && change.state === "restarting");
    expect(restarting).toHaveLength(kills);
    const restarts = actors.filter(({ name }) => name.startsWith("sampler-")).map((actor) => actor.restarts);
    expect(restarts.reduce((sum, count) => sum + count, 0)).toBe(kills);
    expect(changes.every((change) => "state" in change && ["restarting", "running"].includes(change.state))).toBe(true);
  });
});
