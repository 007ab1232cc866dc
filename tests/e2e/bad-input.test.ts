import { mkdtemp, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem, type TrainingActors } from "../../src/actors/run/training-system.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { loadConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { WeirError } from "../../src/errors.js";
import { startEngine } from "../../src/model/engine/host.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";
import { endStates, parityReward, tinyConfig } from "./tiny-run.js";

/** What a run does with bad input: a coded error that says what to do, before anything is trained, or a coded outcome. */

async function startError(over: Partial<ConfigInput>, actors: TrainingActors = {}): Promise<WeirError> {
  const system = createTrainingSystem(await tinyConfig(over), { actors: { reward: parityReward, ...actors } });
  const error = await system
    .start()
    .then(
      () => system.done,
      (cause: unknown) => cause,
    )
    .catch((cause: unknown) => cause);
  expect(WeirError.isInstance(error), String(error)).toBe(true);
  return error as WeirError;
}

const model = join(OWN_FIXTURES, "models", "tiny-qwen2");

async function modelWith(change: (folder: string) => Promise<void>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "weir-model-"));
  for (const name of await readdir(model)) await writeFile(join(folder, name), await readFile(join(model, name)));
  await change(folder);
  return folder;
}

describe("bad input", () => {
  it.each<[string, Partial<ConfigInput>, string, RegExp]>([
    [
      "a data file that does not exist",
      { data: { train: ["/nowhere/tasks.parquet"] } },
      "WEIR_E_FILE_MISSING",
      /nowhere/,
    ],
    ["a model folder that does not exist", { model: { path: "/nowhere/model" } }, "WEIR_E_", /nowhere/],
    [
      "a phase that holds no task",
      {
        phases: [
          { maxTokens: 5, steps: 1 },
          { maxTokens: 300, steps: 1 },
        ],
      },
      "WEIR_E_EMPTY_PHASE",
      /phase 1 \(0 < tokens ≤ 5\).*tasks have \d+ to \d+/,
    ],
    [
      "a prompt longer than the model's positions leave",
      { rollout: { maxTokens: 2000, groupSize: 2, promptsPerStep: 2 } },
      "WEIR_E_PROMPT_TOO_LONG",
      /positions leave 48.*data\.overlong/,
    ],
    [
      "a response longer than the model's positions",
      { rollout: { maxTokens: 5000 } },
      "WEIR_E_PROMPT_TOO_LONG",
      /2048 positions/,
    ],
    [
      "the name of a part that is not registered",
      { curriculum: { actor: "phasd" } },
      "WEIR_E_ACTOR_UNKNOWN",
      /did you mean "phased"/,
    ],
    ["a hybrid reward without a judge", { reward: { actor: "hybrid" } }, "WEIR_E_ACTOR_MISSING", /reward\.judge\.url/],
    ["a monitor off loopback without a token", { monitor: { enabled: true, host: "0.0.0.0" } }, "WEIR_E_", /token/],
    [
      "an empty token variable",
      { monitor: { enabled: true, tokenEnv: "WEIR_TEST_NO_SUCH_VARIABLE" } },
      "WEIR_E_CONFIG",
      /WEIR_TEST_NO_SUCH_VARIABLE/,
    ],
  ])("is told by its code and what to do: %s", async (_, over, code, message) => {
    const actors: TrainingActors = over.reward ? { reward: undefined as never } : {};
    const error = await startError(over, actors);
    expect(error.code).toMatch(code);
    expect(error.message).toMatch(message);
    expect(exitCodeOf(error)).toBeGreaterThan(0);
  });

  it("is told before a model is loaded or anything is made: settings of the monitor, paths, a run folder that cannot be", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const folder = await mkdtemp(join(tmpdir(), "weir-nothing-"));
    const given = await readdir(folder);
    const cases: [Partial<ConfigInput>, string, RegExp][] = [
      [{ monitor: { enabled: true, port } }, "WEIR_E_MONITOR_ADDRESS", /monitor\.port.*EADDRINUSE/],
      [{ monitor: { enabled: true, host: "::" } }, "WEIR_E_MONITOR_UNSAFE", /token/],
      [{ monitor: { enabled: true, tokenEnv: "WEIR_TEST_NONE" } }, "WEIR_E_CONFIG", /WEIR_TEST_NONE/],
      [
        { monitor: { webhook: { url: "http://127.0.0.1:9/hook", tokenEnv: "WEIR_TEST_NONE" } } },
        "WEIR_E_CONFIG",
        /monitor\.webhook\.tokenEnv.*WEIR_TEST_NONE/,
      ],
      [{ model: { path: join(folder, "none") } }, "WEIR_E_FILE_MISSING", /model\.path.*not fetched/],
      [{ data: { train: [join(folder, "none.jsonl")] } }, "WEIR_E_FILE_MISSING", /data\.train.*none\.jsonl/],
      [{ warmup: { data: [folder] } }, "WEIR_E_FILE_MISSING", /warmup\.data.*it is not a file/],
      [{ run: { directory: join(model, "config.json", "runs") } }, "WEIR_E_DISK", /is a file, not a folder/],
    ];
    for (const [over, code, message] of cases) {
      const engines: unknown[] = [];
      const run = { directory: join(folder, "runs"), id: "r", seed: 1 };
      const engine = () => {
        engines.push(null);
        return Promise.reject(new Error("an engine was started"));
      };
      const error = await startError({ run, ...over }, { engine });
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
      expect(engines).toEqual([]);
      expect(await readdir(folder)).toEqual(given);
    }
    await new Promise((resolve) => taken.close(resolve));
  });

  it("leaves no folder of a run that could not begin", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-nothing-"));
    const data = { train: [join(folder, "bad.jsonl")] };
    await writeFile(join(folder, "bad.jsonl"), "{");
    await startError({ run: { directory: join(folder, "runs") }, data });
    // The port is free when it is tried, and taken when the monitor begins to listen.
    const rival = createServer();
    await new Promise<void>((resolve) => rival.listen(0, "127.0.0.1", resolve));
    const { port } = rival.address() as AddressInfo;
    await new Promise((resolve) => rival.close(resolve));
    const error = await startError(
      { run: { directory: join(folder, "runs") }, monitor: { enabled: true, port } },
      {
        engine: async (modelDir, options) => {
          const started = await startEngine({ modelDir, options });
          await new Promise<void>((resolve) => rival.listen(port, "127.0.0.1", resolve));
          return started;
        },
      },
    );
    expect(error.code).toBe("WEIR_E_MONITOR_ADDRESS");
    expect(await readdir(folder)).toEqual(["bad.jsonl"]);
    await new Promise((resolve) => rival.close(resolve));
  });

  it("is told: a row without its column", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-data-"));
    const file = join(folder, "bad.jsonl");
    await writeFile(file, '{"data_source": "musique", "prompt": "q"}\n');
    expect((await startError({ data: { train: [file] } })).message).toMatch(
      /WEIR_E_DATA.*row 0.*reward_model|WEIR_E_DATA.*reward_model/s,
    );
  });

  it("is told: weights cut off in the middle, and a configuration that is not implemented", async () => {
    const cut = await modelWith((folder) => truncate(join(folder, "model.safetensors"), 100_000));
    expect((await startError({ model: { path: cut } })).code).toBe("WEIR_E_MODEL_FILES");
    const odd = await modelWith(async (folder) => {
      const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
      await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, hidden_act: "quick_gelu" }));
    });
    expect((await startError({ model: { path: odd } })).message).toMatch(/WEIR_E_MODEL_UNSUPPORTED.*hidden_act/s);
  });

  it("is told: a run folder that exists, and a configuration file that does not", async () => {
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 1 }] });
    const first = createTrainingSystem(config, { actors: { reward: parityReward } });
    await first.start();
    await first.done;
    const second = createTrainingSystem(config, { actors: { reward: parityReward } });
    await expect(second.start()).rejects.toThrow(/WEIR_E_USAGE.*--resume/s);
    await expect(loadConfig("/nowhere/config.yaml")).rejects.toThrow(/WEIR_E_FILE_MISSING/);
  });

  it("is told: another data set than the run began with, and a run somebody else writes to", async () => {
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 2 }] });
    const first = createTrainingSystem(config, { actors: { reward: parityReward } });
    await first.start();
    const run = first.runDirectory as string;
    const rival = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    await expect(rival.start()).rejects.toThrow(/WEIR_E_RUN_LOCKED/);
    await first.done;
    const [file = ""] = config.data.train;
    await writeFile(file, (await readFile(file, "utf8")).replaceAll("Oslo", "Rome"));
    const resumed = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    await expect(resumed.start()).rejects.toThrow(/WEIR_E_DATA.*fingerprint/s);
  });

  it("is skipped and reported: a damaged newest checkpoint; the run continues from the one before", async () => {
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 4 }], checkpoint: { everySteps: 1, keep: 3 } });
    const first = createTrainingSystem(config, { actors: { reward: parityReward } });
    await first.start();
    const reference = (await first.done).report as { policy: { sha256: string } };
    const run = first.runDirectory as string;
    const newest = (await readdir(join(run, "checkpoints"))).sort().at(-1) as string;
    await truncate(join(run, "checkpoints", newest, "model", "model.safetensors"), 1000);
    const again = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
    const resumedAt: number[] = [];
    again.facts$.subscribe((fact) => fact.type === "run.resumed" && resumedAt.push(fact.step));
    await again.start();
    const result = (await again.done).report as { policy: { sha256: string } };
    expect(resumedAt).toEqual([3]);
    expect(result.policy.sha256).toBe(reference.policy.sha256);
  });

  it("I1, I7: a reward of NaN is an invalid outcome, counted in the ledger, and never trained on", async () => {
    const nan = {
      ...parityReward,
      handle: async (input: Parameters<typeof parityReward.handle>[0], options: { signal: AbortSignal }) => {
        const outcome = await parityReward.handle(input, options);
        return input.rollout.sampleIndex === 0
          ? { kind: "scored" as const, value: Number.NaN, parts: {}, prediction: null }
          : outcome;
      },
    };
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 2 }] });
    const system = createTrainingSystem(config, { actors: { reward: nan } });
    const shares: number[] = [];
    system.metrics$.subscribe(
      ({ values }) => values["reward/scored_share"] !== undefined && shares.push(values["reward/scored_share"]),
    );
    await system.start();
    const { runDirectory } = await system.done;
    expect(shares).toEqual([0.75, 0.75]);
    const ends = await endStates(runDirectory);
    for (const [id, end] of ends) if (id.endsWith("-g0")) expect(end).toBe("dropped:reward_invalid");
    expect([...ends.values()].filter((end) => end === "trained").length).toBeGreaterThan(0);
  });

  it("is refused by preflight: a reward that can score nothing, such as a judge that is down", async () => {
    const dead = {
      ...parityReward,
      kind: "dead",
      handle: async () => ({ kind: "failed" as const, code: "WEIR_E_JUDGE", reason: "connection refused" }),
    };
    const error = await startError({}, { reward: dead });
    expect(error.code).toBe("WEIR_E_JUDGE");
    expect(error.message).toMatch(/connection refused.*repair the reward/s);
  });
});
