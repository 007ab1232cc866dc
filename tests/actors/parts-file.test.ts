/** Parts from a file: what `--parts` loads, what it refuses, and what a resumed run needs. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadParts } from "../../src/actors/parts/parts-file.js";
import { createTrainingSystem, type TrainingActors } from "../../src/actors/run/training-system.js";
import { configOfRun, trainCommand } from "../../src/cli/commands/train.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { type ErrorCode, WeirError } from "../../src/errors.js";
import { createFakeJudge } from "../../src/testing.js";
import { parityReward, tinyConfig } from "../e2e/tiny-run.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-parts-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const load = createRequire(import.meta.url)("../helpers/native-import.cjs") as (url: string) => Promise<unknown>;

let files = 0;
async function write(text: string, extension = "mjs"): Promise<string> {
  // A module is loaded once for each path, so every test has a file of its own.
  const path = join(folder, `parts-${++files}.${extension}`);
  await writeFile(path, text);
  return path;
}

const REWARD = `{
  kind: "even",
  specificationVersion: 1,
  handle: async ({ rollout }) => {
    const value = rollout.tokenIds.reduce((sum, id) => sum + id, 0) % 2;
    return { kind: "scored", value, parts: { even: value }, prediction: null };
  },
}`;

async function faultOf(work: Promise<unknown>): Promise<WeirError> {
  const error = await work.then(
    () => new Error("nothing was thrown"),
    (cause: unknown) => cause,
  );
  if (!WeirError.isInstance(error)) throw error;
  return error;
}

describe("a parts file", () => {
  it("gives parts and factories by kind and name, from the default export or one called parts", async () => {
    for (const head of ["export default", "export const parts ="]) {
      const { parts, file, sha256 } = await loadParts(
        await write(`${head} { reward: { even: ${REWARD}, made: () => (${REWARD}) }, advantage: {} };`),
      );
      expect(parts.map(({ kind, name }) => `${kind} ${name}`)).toEqual(["reward even", "reward made"]);
      expect(file).toMatch(/^parts-\d+\.mjs$/);
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it("may be CommonJS", async () => {
    const { parts } = await loadParts(await write(`module.exports = { reward: { even: ${REWARD} } };`, "cjs"));
    expect(parts).toHaveLength(1);
  });

  it.each<[string, string, ErrorCode, RegExp]>([
    [
      "with a syntax error",
      "export default {\n  reward: { a: [ }\n};",
      "WEIR_E_PARTS_FILE",
      /no module that this Node reads: .*line 2: reward: \{ a: \[ \}/,
    ],
    [
      "that throws",
      'throw new Error("no licence");',
      "WEIR_E_PARTS_FILE",
      /it threw while it was loaded: Error: no licence/,
    ],
    [
      "that imports what is not there",
      'import "not-installed-anywhere";',
      "WEIR_E_PARTS_FILE",
      /was not found: .*not-installed-anywhere.*install it where the file lies/,
    ],
    ["without exports", "const x = 1;", "WEIR_E_PARTS_FILE", /it has neither/],
    ["with other exports only", "export const reward = 1;", "WEIR_E_PARTS_FILE", /it has neither/],
    [
      "that exports a function",
      "export default () => 1;",
      "WEIR_E_PARTS_FILE",
      /expected an object .*, got a function/,
    ],
    ["that exports a list", "export default [];", "WEIR_E_PARTS_FILE", /expected an object .*, got \[\]/],
    ["that exports nothing in it", "export default {};", "WEIR_E_PARTS_FILE", /at least one part/],
    [
      "that exports a part itself",
      `export default ${REWARD};`,
      "WEIR_E_PARTS_FILE",
      /exports a part itself; give it a kind and a name/,
    ],
    [
      "with a part without a name",
      `export default { reward: ${REWARD} };`,
      "WEIR_E_PARTS_FILE",
      /a part without a name; write reward: \{ "NAME": part \}/,
    ],
    [
      "with a kind that does not exist",
      "export default { rewards: {} };",
      "WEIR_E_ACTOR_UNKNOWN",
      /"rewards"; did you mean "reward"/,
    ],
    [
      "with a name that holds no part",
      'export default { reward: { a: "rule" } };',
      "WEIR_E_PARTS_FILE",
      /reward\."a": expected a part or a function.*got "rule"/,
    ],
  ])("%s is refused", async (_, text, code, message) => {
    const path = await write(text);
    const error = await faultOf(loadParts(path, load));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    if (code === "WEIR_E_PARTS_FILE") expect(error.message).toContain(path);
  });

  it("that does not exist is WEIR_E_FILE_MISSING, one of another kind says which are read", async () => {
    expect((await faultOf(loadParts(join(folder, "none.mjs")))).code).toBe("WEIR_E_FILE_MISSING");
    expect((await faultOf(loadParts(await write("reward: even", "yaml"), load))).message).toMatch(
      /ends in \.js, \.mjs, or \.ts/,
    );
  });
});

describe("a parts file in TypeScript", () => {
  const typed = () => write(`const name: string = "even";\nexport default { reward: { [name]: ${REWARD} } };`, "mts");
  const strips = Boolean((process.features as { typescript?: unknown }).typescript);

  it.runIf(strips)("is read where Node strips types", async () => {
    expect((await loadParts(await typed(), load)).parts.map(({ name }) => name)).toEqual(["even"]);
  });

  it.runIf(!strips)("says which Node reads it where this one does not", async () => {
    expect((await faultOf(loadParts(await typed(), load))).message).toMatch(
      /this Node \(v20[\d.]+\) does not read TypeScript; use Node 22\.18 or newer, or compile/,
    );
  });
});

describe("weir train --parts", () => {
  const train = async (options: Partial<Parameters<typeof trainCommand>[1]>, over: object = {}) => {
    const own = await mkdtemp(join(folder, "run-"));
    const config = join(own, "config.json");
    const phases = [{ maxTokens: 300, steps: 2 }];
    await writeFile(config, JSON.stringify(await tinyConfig({ phases, reward: { actor: "even" }, ...over }, own)));
    const code = await trainCommand(config, { set: [], json: true, ...options });
    return { code, run: join(own, "runs", "tiny") };
  };
  const journal = async (run: string) =>
    (await readFile(join(run, "journal.ndjson"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));

  it("trains on a reward of the file, journals it, and plots its parts and what it publishes", async () => {
    const path = await write(`export const parts = { reward: { even: (need, { publish }) => {
      const part = ${REWARD};
      return { ...part, handle: async (input) => { publish("answer/tokens", input.rollout.tokenIds.length); return part.handle(input); } };
    } } };`);
    const { code, run } = await train({ parts: [path] });
    expect(code).toBe(0);
    const facts = await journal(run);
    const [events] = await readdir(join(run, "tensorboard"));
    const written = await readFile(join(run, "tensorboard", String(events)), "latin1");
    expect(written).toContain("custom/answer/tokens");
    expect(written).toContain("reward/parts/even");
    expect(facts[0].data.parts.reward).toEqual({
      kind: "even",
      source: "own",
      file: facts[0].data.parts.files[0],
    });
    expect(facts[0].data.parts.files).toEqual([{ file: expect.stringMatching(/^parts-/), sha256: expect.any(String) }]);
    const steps = facts.filter(
      ({ type, data }) => type === "metrics.recorded" && data.phase > 0 && data.values["reward/mean"] !== undefined,
    );
    expect(steps).toHaveLength(2);
    for (const { data } of steps) {
      expect(data.values["custom/answer/tokens"]).toBe(data.values["response/length_mean"]);
      expect(data.values["reward/parts/even"]).toBe(data.values["reward/mean"]);
    }
  });

  it("refuses a name that weir has, a file that is given twice, and a name that no file holds", async () => {
    const taken = await write(`export default { reward: { rule: ${REWARD} } };`);
    await expect(train({ parts: [taken] })).rejects.toThrow(/WEIR_E_ACTOR_DUPLICATE.*"rule"/);
    const path = await write(`export default { reward: { even: ${REWARD} } };`);
    await expect(train({ parts: [path, path] })).rejects.toThrow(/WEIR_E_ACTOR_DUPLICATE.*"even"/);
    await expect(train({})).rejects.toThrow(/WEIR_E_ACTOR_UNKNOWN.*"even".*comes from a file given with --parts/);
  });

  it("ends a run whose part breaks its contract with WEIR_E_PART naming it", async () => {
    const reward = await write(
      'export default { reward: { even: { kind: "even", specificationVersion: 1, handle: async () => ({ kind: "scored", value: 1 }) } } };',
    );
    await expect(train({ parts: [reward] })).rejects.toThrow(
      /WEIR_E_PART: the reward part "even" scored with parts undefined/,
    );
    const advantage = await write(
      `export default { reward: { even: ${REWARD} }, advantage: { flat: { kind: "flat", specificationVersion: 1, handle: () => undefined } } };`,
    );
    await expect(train({ parts: [advantage] }, { advantage: { actor: "flat" } })).rejects.toThrow(
      /WEIR_E_PART: the advantage part "flat" gave undefined/,
    );
  });

  it("is needed again on resume: without it, or with weir's own part in its place, the run is refused", async () => {
    const path = await write(`export default { reward: { even: ${REWARD} } };`);
    const { run } = await train({ parts: [path] });
    await expect(trainCommand(undefined, { set: [], resume: run })).rejects.toThrow(
      /WEIR_E_ACTOR_UNKNOWN.*"even".*--parts/,
    );
    await expect(trainCommand(undefined, { set: ["reward.actor=rule"], resume: run })).rejects.toThrow(
      /WEIR_E_ACTOR_MISSING.*started with the reward part "even" of your own, and would go on with "rule"/,
    );
    await expect(trainCommand(undefined, { set: [], resume: run, json: true, parts: [path] })).resolves.toBe(0);
  });
});

describe("parts that nothing uses", () => {
  const remarksOf = async (over: Partial<ConfigInput>, actors: TrainingActors) => {
    const own = await mkdtemp(join(folder, "run-"));
    const remarks: string[] = [];
    const system = createTrainingSystem(await tinyConfig({ phases: [{ maxTokens: 300, steps: 1 }], ...over }, own), {
      actors,
      onRemark: (error) => remarks.push(error.message),
    }).register("advantage", "flat", () => ({
      kind: "flat",
      specificationVersion: 1,
      handle: ({ rewards }) => rewards.map((reward) => reward),
    }));
    await system.start();
    await system.stop({ abort: true });
    return remarks;
  };

  it("are remarked with the option that would use them", async () => {
    expect(await remarksOf({}, { reward: parityReward, judge: createFakeJudge([1]) })).toEqual([
      'WEIR_E_ACTOR_MISSING: a part of your own (advantage "flat") is there and not in use: the configuration names "grpo"; set advantage.actor to use one',
      'WEIR_E_ACTOR_MISSING: a part of your own (judge "fake") is there and not in use: the reward "parity" asks no judge of that name; set reward.actor and reward.judge.actor to use one',
    ]);
  });

  it("are not remarked where one of their kind is in use", async () => {
    expect(await remarksOf({ advantage: { actor: "flat" } }, { reward: parityReward })).toEqual([]);
  });
});

describe("a program's parts", () => {
  it("given by value are needed again on resume", async () => {
    const own = await mkdtemp(join(folder, "run-"));
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 1 }] }, own);
    const first = createTrainingSystem(config, { actors: { reward: parityReward } });
    await first.start();
    const { runDirectory } = await first.done;
    const again = createTrainingSystem(await configOfRun(runDirectory, []), { resume: runDirectory });
    await expect(again.start()).rejects.toThrow(/WEIR_E_ACTOR_MISSING.*the reward part "parity".*"rule"/);
  });

  it("under a name that stands for no part are refused, with the nearest", async () => {
    const config = { model: { path: "m" }, data: { train: ["t"] } };
    expect(() => createTrainingSystem(config, { actors: { rewrad: parityReward } as never })).toThrow(
      /WEIR_E_ACTOR_UNKNOWN: actors\.rewrad: there is no such part; did you mean "reward"/,
    );
  });

  it("that fail to let go leave the run completed and its folder unlocked, and are warned of", async () => {
    const own = await mkdtemp(join(folder, "run-"));
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 1 }] }, own);
    const dispose = () => Promise.reject(new Error("socket busy"));
    const warned = new Promise<Error & { code?: string }>((resolve) => process.once("warning", resolve));
    const system = createTrainingSystem(config, { actors: { reward: { ...parityReward, dispose } } });
    await system.start();
    expect((await system.done).status).toBe("completed");
    expect(await warned).toMatchObject({
      code: "WEIR_E_PART",
      message: expect.stringMatching(/the reward part "parity" threw in dispose\(\): Error: socket busy/),
    });
    const again = createTrainingSystem(await configOfRun(join(own, "runs", "tiny"), []), {
      resume: join(own, "runs", "tiny"),
      actors: { reward: parityReward },
    });
    await again.start();
    expect((await again.done).status).toBe("completed");
  });
});
