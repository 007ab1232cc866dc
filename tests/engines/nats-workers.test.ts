/**
 * Runs whose groups are drawn and scored by worker processes over a real NATS server. WEIR_WORKER_GROUPS=2000 makes the run with kills
 * that long; its figures are printed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { runsAt } from "../../src/remote/nats/runs.js";
import { type LedgerLine, parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { folderOfFile, notInstalled, startNats } from "./servers.js";

const folder = folderOfFile();
const nats = notInstalled("nats") ? null : await startNats({ folder });

/** The reward of these runs, as a worker loads it. */
const PARTS = join(folder, "parity.mjs");
writeFileSync(
  PARTS,
  `export default { reward: { parity: {
     kind: "parity", specificationVersion: 1,
     handle: async ({ rollout }) => {
       const value = rollout.tokenIds.reduce((sum, id) => sum + id, 0) % 2;
       return { kind: "scored", value, parts: { parity: value }, prediction: null };
     } } } };`,
);

class Worker {
  private child: ChildProcess | null = null;
  output = "";

  constructor(private readonly options: readonly string[] = []) {}

  start(): void {
    const main = resolve("src/cli/main.ts");
    const args = ["--import", "tsx", main, "worker", "--queue", nats?.url ?? "", "--parts", PARTS, ...this.options];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    const hear = (text: Buffer) => {
      this.output += text.toString();
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    this.child = child;
  }

  kill(): void {
    this.child?.kill("SIGKILL");
  }

  /** Exit code after `signal`, or after it has ended by itself. */
  async end(signal: NodeJS.Signals | null = "SIGTERM"): Promise<number | null> {
    const { child } = this;
    if (child === null) return null;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    if (signal !== null) child.kill(signal);
    return new Promise((done) => child.once("exit", (code) => done(code)));
  }
}

const workers: Worker[] = [];
afterAll(async () => {
  for (const worker of workers) await worker.end("SIGKILL");
});

function started(options?: readonly string[]): Worker {
  const worker = new Worker(options);
  workers.push(worker);
  worker.start();
  return worker;
}

interface Ran {
  readonly facts: readonly Fact[];
  readonly ledger: readonly LedgerLine[];
  readonly seconds: number;
}

async function run(name: string, over: Partial<ConfigInput>): Promise<Ran> {
  const home = join(folder, name);
  mkdirSync(home, { recursive: true });
  const config = await tinyConfig({ ...over, reward: { actor: "parity" } }, home);
  const system = createTrainingSystem({ ...config, run: { ...config.run, id: name } });
  system.register("reward", "parity", () => parityReward);
  const facts: Fact[] = [];
  system.facts$.subscribe((fact) => facts.push(fact));
  const began = Date.now();
  await system.start();
  const { runDirectory } = await system.done;
  const lines = readFileSync(join(runDirectory, "ledger.ndjson"), "utf8").trim().split("\n");
  return { facts, ledger: lines.map((line) => JSON.parse(line) as LedgerLine), seconds: (Date.now() - began) / 1000 };
}

const hashes = (facts: readonly Fact[]) =>
  facts.flatMap((fact) => (fact.type === "step.committed" ? [fact.data.sha256] : []));

/** Ends of every rollout that was issued. */
function endsOf(ledger: readonly LedgerLine[]): Map<string, string[]> {
  const ends = new Map<string, string[]>();
  for (const { rolloutId, state } of ledger) {
    const known = ends.get(rolloutId) ?? [];
    ends.set(rolloutId, known);
    if (state === "trained" || state === "dropped") known.push(state);
  }
  return ends;
}

const queue = () => ({ workQueue: { actor: "nats", url: nats?.url ?? "", leaseMs: 3_000 } }) as const;

describe.skipIf(notInstalled("nats"))("workers over NATS", () => {
  it("make the very run that the run's own sampler makes, and leave nothing at the server", async () => {
    const alone = await run("alone", {});
    const worker = started(["--once"]);
    const together = await run("together", queue());
    expect(hashes(together.facts)).toEqual(hashes(alone.facts));
    expect(hashes(together.facts)).toHaveLength(6);
    expect([...endsOf(together.ledger)].sort()).toEqual([...endsOf(alone.ledger)].sort());
    expect(await worker.end(null)).toBe(0);
    expect(worker.output).toContain("groups done for together-");
    const server = new NatsServer({ url: nats?.url ?? "", credentialsEnv: null });
    expect(await runsAt(server, new AbortController().signal)).toEqual([]);
    await server.close();
  });

  it("refuse a run of another model", async () => {
    const worker = started(["--once", "--model", resolve("tests/fixtures/models/tiny-llama")]);
    const other = started(["--once"]);
    await run("refused", queue());
    expect(await worker.end(null)).toBe(1);
    expect(worker.output).toContain("WEIR_E_WORKER");
    expect(await other.end(null)).toBe(0);
  });

  it("bring each group to the ledger once, whichever of them is killed", async () => {
    const groups = Number(process.env.WEIR_WORKER_GROUPS ?? 48);
    const everyMs = process.env.WEIR_WORKER_GROUPS === undefined ? 4_000 : 20_000;
    const three = [started(["--once"]), started(["--once"]), started(["--once"])];
    const perStep = 12;
    const maxTasks = 8;
    const watched = watch(three, everyMs);
    const { ledger, facts, seconds } = await run("killed", {
      workQueue: { ...queue().workQueue, maxTasks, maxAttempts: 9 },
      rollout: { groupSize: 4, promptsPerStep: perStep, promptsPerCall: 2, maxTokens: 6, temperature: 1, topP: 1 },
      dynamicSampling: { enabled: false },
      phases: [{ maxTokens: 300, steps: Math.ceil(groups / perStep) }],
      checkpoint: { everySteps: 0 },
      evaluation: { initial: false, atPhaseEnd: false },
    });
    const { kills, redelivery, most } = await watched.stop();
    const ends = endsOf(ledger);
    expect(ends.size).toBe(Math.ceil(groups / perStep) * perStep * 4);
    expect([...ends.values()].every((states) => states.length === 1)).toBe(true);
    expect(hashes(facts)).toHaveLength(Math.ceil(groups / perStep));
    expect(kills).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(maxTasks);
    const waits = redelivery.map((ms) => (ms / 1000).toFixed(1)).join(", ");
    console.info(
      `${ends.size / 4} groups in ${seconds.toFixed(0)} s (${(ends.size / 4 / seconds).toFixed(2)} a second), ${kills} kills; redelivered after ${waits} s; at most ${most} of ${maxTasks} tasks in the queue`,
    );
  });
});

/** Kills one worker after another and starts it again; notes how long its groups took to be delivered again, and the queue's depth. */
function watch(three: readonly Worker[], everyMs: number) {
  const server = new NatsServer({ url: nats?.url ?? "", credentialsEnv: null });
  const stop = new AbortController();
  const seen = { kills: 0, most: 0, redelivery: [] as number[] };
  const watching = (async () => {
    let [last, killedAt] = [Date.now(), null as number | null];
    while (!stop.signal.aborted) {
      await new Promise((done) => setTimeout(done, 100));
      const [name] = await runsAt(server, stop.signal).catch(() => []);
      if (name === undefined) continue;
      const state = await server
        .call("look", stop.signal, async ({ manager }) => ({
          stored: (await manager.streams.info(`WEIR_${name}_TASKS`)).state.messages,
          consumer: await manager.consumers.info(`WEIR_${name}_TASKS`, "workers"),
        }))
        .catch(() => null);
      if (state === null) continue;
      seen.most = Math.max(seen.most, state.stored);
      if (killedAt !== null && state.consumer.num_redelivered > 0) {
        seen.redelivery.push(Date.now() - killedAt);
        killedAt = null;
      }
      if (Date.now() - last < everyMs || state.consumer.num_ack_pending === 0) continue;
      const victim = three[seen.kills % three.length] as Worker;
      victim.kill();
      await victim.end(null);
      victim.start();
      seen.kills += 1;
      last = Date.now();
      killedAt = last;
    }
  })();
  return {
    stop: async () => {
      stop.abort();
      await watching;
      await server.close();
      return seen;
    },
  };
}
