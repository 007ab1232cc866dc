/** Runs whose groups are drawn and scored by worker processes over a real NATS server. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { runsAt } from "../../src/remote/nats/runs.js";
import { type LedgerLine, parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { killWorkers, WorkerProcess } from "./killed-workers.js";
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

/** The built program where there is one: it starts several times faster. */
const BUILT = resolve("dist/src/cli/main.js");
const MAIN = existsSync(BUILT) ? [BUILT] : ["--import", "tsx", resolve("src/cli/main.ts")];

const workers: WorkerProcess[] = [];
afterAll(async () => {
  for (const worker of workers) await worker.end("SIGKILL");
});

function started(options: readonly string[]): WorkerProcess {
  const worker = new WorkerProcess([...MAIN, "worker", "--queue", nats?.url ?? "", "--parts", PARTS, ...options]);
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

  it("bring each group to the ledger once, also where one is killed", async () => {
    const two = [started(["--once"]), started(["--once"])];
    const kills = killWorkers({ url: nats?.url ?? "", victims: two, everyMs: 60_000 });
    const { ledger, facts } = await run("killed", {
      workQueue: { ...queue().workQueue, maxTasks: 4, maxAttempts: 9 },
    });
    expect((await kills.stop()).kills).toBeGreaterThan(0);
    const ends = endsOf(ledger);
    expect(ends.size).toBeGreaterThanOrEqual(6 * 3 * 4);
    expect([...ends.values()].every((states) => states.length === 1)).toBe(true);
    expect(hashes(facts)).toHaveLength(6);
  });
});
