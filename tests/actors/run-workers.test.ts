/** Runs with a work queue, and what a run tells its workers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assertFits, parseSettings } from "../../src/actors/worker/work-settings.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { createMemoryWorkQueue } from "../../src/streams/work-queue.js";
import { failure } from "../helpers/errors.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const parity = () => rewardOf(({ rollout }) => rollout.tokenIds.reduce((sum, id) => sum + id, rollout.sampleIndex) % 2);

async function ran(over: Partial<ConfigInput>, options: Parameters<typeof fakeRun>[2] = {}) {
  const { system, metrics } = await fakeRun(over, parity(), options);
  const facts: Fact[] = [];
  system.facts$.subscribe((fact) => facts.push(fact));
  await system.start();
  const { runDirectory } = await system.done;
  const ledger = readFileSync(join(runDirectory, "ledger.ndjson"), "utf8").trim().split("\n");
  const ends = ledger.filter((line) => /"state":"(trained|dropped)"/.test(line)).sort();
  const rewards = metrics.flatMap(({ values }) => values["reward/mean"] ?? []);
  return { facts, ends, rewards };
}

describe("a run with the work queue of its own process", () => {
  it("trains on the rollouts that it trains on without", async () => {
    const alone = await ran({});
    const together = await ran({ workQueue: { actor: "memory" } });
    expect(together.ends).toEqual(alone.ends);
    expect(together.rewards).toEqual(alone.rewards);
    expect(alone.rewards.length).toBeGreaterThan(0);
    const started = (facts: readonly Fact[]) => facts.find(({ type }) => type === "run.started")?.data;
    expect(started(alone.facts)).not.toHaveProperty("parts.workQueue");
    expect(started(together.facts)).toHaveProperty("parts.workQueue", { kind: "memory", source: "built-in" });
  });

  it("goes through a queue of one's own, and announces its options but for the monitor's", async () => {
    const queue = createMemoryWorkQueue<never, never>({ bound: 64, resultBound: 64, leaseMs: 9_000, maxAttempts: 3 });
    const announced: unknown[] = [];
    const own = { ...bound(queue), announce: async (record: unknown) => void announced.push(record) };
    await ran({}, { actors: { workQueue: own as never } });
    expect(announced).toHaveLength(2);
    const settings = parseSettings(announced[0] as never);
    expect(settings).toMatchObject({ artifact: "handle", config: { run: { id: "tiny", seed: 5 } } });
    expect(settings.config).not.toHaveProperty("monitor");
    // The run has ended.
    expect(announced[1]).toBeNull();
  });

  it("is refused with overlap where trainer and worker share weights", async () => {
    const over = {
      workQueue: { actor: "memory" },
      async: { maxLag: 1 },
      update: { correction: { importance: "token" } },
    };
    const { system } = await fakeRun(over as Partial<ConfigInput>, parity());
    await failure(() => system.start(), "WEIR_E_CAPABILITY");
  });
});

/** A queue whose methods can be copied. */
function bound<T extends object>(part: T): T {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(part)).filter((name) => name !== "constructor");
  const methods = names.map((name) => [name, (part as Record<string, () => unknown>)[name]?.bind(part)]);
  return { ...part, ...Object.fromEntries(methods) };
}

describe("a worker's fitness", () => {
  const digests = { weights: "w".repeat(64), config: "c".repeat(64), tokenizer: "t".repeat(64) };
  const run = { version: "1.0.0", model: digests };

  it("is the run's version, config.json, tokenizer and weights, where both know them", () => {
    assertFits(run, run);
    assertFits(run, { ...run, model: { ...digests, weights: "" } });
    assertFits({ ...run, model: { ...digests, weights: "" } }, run);
  });

  it.each([
    ["version", { ...run, version: "1.1.0" }, "the run has weir 1.0.0, this worker 1.1.0"],
    [
      "config",
      { ...run, model: { ...digests, config: "x" } },
      "config.json is not the run's (x, the run has cccccccccccc)",
    ],
    ["tokenizer", { ...run, model: { ...digests, tokenizer: "" } }, "tokenizer is not the run's (none,"],
    ["weights", { ...run, model: { ...digests, weights: "x" } }, "weights are not the run's (x,"],
  ])("is refused with another %s", async (_, worker, words) => {
    const error = await failure(async () => assertFits(run, worker), "WEIR_E_WORKER");
    expect(error.message).toContain(words);
  });

  it("cannot be told from a record of another build", async () => {
    await failure(async () => parseSettings({ schema_version: 2 }), "WEIR_E_WORKER");
  });
});
