/** Whole runs that a Tinker-compatible server trains: nothing of weir's engine is started but where it samples. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { EngineCore } from "../../src/model/engine/core.js";
import { startEngine } from "../../src/model/engine/host.js";
import { demonstrations } from "../actors/fake-run.js";
import { FakeTinker, type FakeTinkerOptions } from "../remote/fake-tinker.js";
import { SESSION_LORA } from "../remote/tinker-session.js";
import { endStates, parityReward, tinyConfig } from "./tiny-run.js";

const LORA = { ...SESSION_LORA, seed: 5 };

describe("a run that a Tinker-compatible server trains", { timeout: 120_000 }, () => {
  let archive: Uint8Array;
  let server: FakeTinker | null = null;

  beforeAll(async () => {
    const { model } = await tinyConfig();
    const core = await EngineCore.open(model.path, { backend: "cpu", threads: 0, executor: "eager", lora: LORA });
    const folder = await mkdtemp(join(tmpdir(), "weir-archive-"));
    await core.publish("adapter", folder);
    core.dispose();
    archive = execFileSync("tar", ["czf", "-", "-C", join(folder, "adapter"), "."]);
  });
  afterEach(async () => {
    await server?.stop();
    server = null;
  });

  async function served(options: FakeTinkerOptions = {}, over: Partial<ConfigInput> = {}) {
    server = new FakeTinker({ archive: () => archive, ...options });
    const url = await server.start();
    const { model } = await tinyConfig();
    const config = await tinyConfig({
      model: { path: model.path, lora: { rank: LORA.rank } },
      trainer: { actor: "tinker", url, patienceMs: 100, lossScale: "row-mean" },
      sampler: { actor: "tinker", patienceMs: 100 },
      optimiser: { learningRate: 1e-2, maxGradNorm: null },
      loss: { monitorKl: true },
      warmup: { data: [await demonstrations(4)], epochs: 1, batchRows: 2 },
      phases: [{ maxTokens: 300, steps: 3 }],
      ...over,
    });
    const started: string[] = [];
    const logged: string[] = [];
    const system = createTrainingSystem(config, {
      logger: pino({ level: "warn" }, { write: (line) => void logged.push(line) }),
      actors: {
        reward: parityReward,
        engine: (modelDir, settings) => {
          started.push(modelDir);
          return startEngine({ modelDir, options: settings });
        },
      },
    });
    const facts: Fact[] = [];
    const states: string[] = [];
    system.facts$.subscribe((fact) => facts.push(fact));
    system.state$.subscribe(({ lifecycle }) => {
      if (states.at(-1) !== lifecycle) states.push(lifecycle);
    });
    const metric = (name: string) =>
      facts.flatMap(({ type, data }) => {
        const value =
          type === "metrics.recorded" ? (data as { values: Record<string, number> }).values[name] : undefined;
        return value === undefined ? [] : [value];
      });
    return { system, facts, states, started, logged, metric };
  }

  it("and samples, from warm-up to the exported model, starts no engine", async () => {
    const run = await served();
    await run.system.start();
    const { runDirectory, report } = await run.system.done;
    expect(run.started).toEqual([]);
    expect(report).toMatchObject({
      engine: null,
      parts: { sampler: "tinker", trainer: "tinker" },
      updates: { warmup: 2, rl: 6 },
      policy: { n: 4 },
    });
    const begun = run.facts.find(({ type }) => type === "run.started")?.data as {
      parts: { policyStore: object; guard: object };
    };
    expect(begun.parts).toMatchObject({ policyStore: { kind: "engine" }, guard: { kind: "standard" } });
    // The preflight's, and that of each step.
    expect(run.metric("mismatch_abs")).toHaveLength(4);
    expect(Math.max(...run.metric("mismatch_abs"))).toBeLessThan(1e-6);
    expect(run.metric("kl/ref").every((value) => value > 0)).toBe(true);
    expect(run.metric("loss/sft")).toHaveLength(2);
    expect((await stat(join(runDirectory, "model", "model.safetensors"))).size).toBeGreaterThan(0);
    const numbers = new Map<string, number[]>();
    for (const { type, data } of run.facts) {
      if (type !== "trainer.called") continue;
      const { model, number } = data as { model: string; number: number };
      numbers.set(model, [...(numbers.get(model) ?? []), number]);
    }
    for (const of of numbers.values()) expect(of).toEqual(of.map((_, at) => (of[0] as number) + at));
  });

  it("leaves no state at the server that no checkpoint names", async () => {
    const run = await served({}, { phases: [{ maxTokens: 300, steps: 6 }], checkpoint: { everySteps: 2, keep: 2 } });
    const kept: number[] = [];
    run.system.facts$.subscribe(({ type }) => {
      if (type === "checkpoint.written") kept.push(server?.states.length ?? 0);
    });
    await run.system.start();
    const { runDirectory } = await run.system.done;
    const folder = join(runDirectory, "checkpoints");
    const named: string[] = [];
    for (const name of await readdir(folder)) {
      const text = await readFile(join(folder, name, "model", "tinker-state.json"), "utf8");
      named.push((JSON.parse(text) as { address: string }).address);
    }
    expect(named).toHaveLength(2);
    expect(server?.states.sort()).toEqual(named.sort());
    // Besides checkpoints there are snapshots while the run goes on, within their number.
    expect(Math.max(...kept)).toBeGreaterThan(2);
  });

  it("says once that a server removes no states, and goes on", async () => {
    const run = await served(
      { intercept: (path) => (/checkpoints\/weights\//.test(path) ? { status: 405, json: { detail: "no" } } : null) },
      { phases: [{ maxTokens: 300, steps: 6 }], checkpoint: { everySteps: 1, keep: 1 } },
    );
    await run.system.start();
    const { report } = await run.system.done;
    expect(report).toMatchObject({ steps: { rl: 6 } });
    expect(run.logged.filter((line) => line.includes("removes no saved states"))).toHaveLength(1);
    expect(server?.states.length).toBeGreaterThan(6);
  });

  it("goes on from its last checkpoint where the server is started anew in the middle of a step, and is away for a while", async () => {
    // Two are of the warm-up, and each RL step has two.
    let steps = 0;
    let refusals = 0;
    const run = await served({
      intercept: (path) => {
        if (path === "optim_step" && ++steps === 6) {
          refusals = 2;
          server?.forget();
        }
        return refusals-- > 0 ? { status: 503, json: { detail: "starting" } } : null;
      },
    });
    await run.system.start();
    const { runDirectory, report } = await run.system.done;
    expect(run.states.filter((state) => state === "paused" || state === "recovering")).toEqual([
      "paused",
      "recovering",
    ]);
    expect(report).toMatchObject({ updates: { warmup: 2, rl: 6 }, policy: { n: 4 }, steps: { rl: 3 } });
    const resumed = run.facts.find(({ type }) => type === "run.resumed");
    expect(resumed?.data).toMatchObject({ step: 1, reason: expect.stringContaining("WEIR_E_UNREACHABLE") });
    expect(new Set((await endStates(runDirectory)).values())).not.toContain("dropped:aborted");
    const journal = await readFile(join(runDirectory, "journal.ndjson"), "utf8");
    expect(journal.match(/"type":"step.committed"/g)).toHaveLength(3);
  });

  it("is not begun with a sampler that has other weights", async () => {
    const run = await served({}, { sampler: { actor: "engine" } });
    await run.system.start();
    await expect(run.system.done).rejects.toMatchObject({ code: "WEIR_E_MISMATCH" });
    expect(run.started).toHaveLength(1);
    expect(server?.calls).not.toContain("optim_step");
  });
});
