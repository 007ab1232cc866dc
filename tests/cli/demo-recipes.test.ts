import { existsSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { demoCommand } from "../../src/cli/commands/demo.js";
import { type DataDials, makeDemoData } from "../../src/cli/demo/data.js";
import { type DemoRun, demoConfig } from "../../src/cli/demo/recipe.js";
import { RECIPES, recipeOf } from "../../src/cli/demo/recipes.js";
import { parseConfig } from "../../src/config/load.js";
import type { ChatMessage, Task } from "../../src/contracts/task.js";
import { measurePromptTokens } from "../../src/data/measure.js";
import { readTasks } from "../../src/data/read-tasks.js";
import { scoreByRule } from "../../src/rewards/rule.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

/** Tokens as a subword tokenizer would count them, roughly: a template's share and one for four letters. */
const countTokens = (messages: readonly ChatMessage[]): number =>
  40 + messages.reduce((sum, { content }) => sum + Math.ceil((content ?? "").length / 4.2), 0);

const smollm2 = recipeOf("smollm2");
/** The recipe's dials with few tasks: every bound is the recipe's own. */
const few: DataDials = {
  ...smollm2,
  tasksPerPhase: 12,
  heldoutPerBucket: 8,
  demonstrations: { ...smollm2.demonstrations, count: 60 },
};

interface Shown {
  readonly prompt: readonly ChatMessage[];
  readonly response: string;
}

async function make(seed: number): Promise<{ texts: string[]; train: Task[]; heldout: Task[]; shown: Shown[] }> {
  const folder = await temporaryFolder();
  const data = await makeDemoData(folder, seed, few, countTokens);
  const tokenizer = {
    applyChatTemplate: (messages: readonly ChatMessage[]) => ({
      ids: new Array<number>(countTokens(messages)).fill(0),
    }),
  };
  const read = async (file: string) => measurePromptTokens(await readTasks(file), tokenizer);
  const sft = await readFile(data.sft, "utf8");
  return {
    texts: await Promise.all([data.train, data.heldout, data.sft].map((file) => readFile(file, "base64"))),
    train: await read(data.train),
    heldout: await read(data.heldout),
    shown: sft
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Shown),
  };
}

/** The capitalised names that a document's sentences speak of. */
const namesOf = (task: Task): string[] =>
  [...(task.document ?? "").matchAll(/ of (\S+) is (\S+)\./g)].flatMap((match) => [match[1], match[2]] as string[]);

const run: DemoRun = {
  directory: "runs",
  id: "one",
  seed: 1,
  model: "folder",
  data: { train: "train.parquet", heldout: "heldout.parquet", sft: "sft.jsonl" },
  sftOnly: false,
  settings: [],
};

describe("data of the pretrained model's recipe", () => {
  it("are the same for the same seed, to the byte, and others for another seed", async () => {
    const [one, same, other] = await Promise.all([make(1), make(1), make(2)]);
    expect(same.texts).toEqual(one.texts);
    expect(other.texts[0]).not.toEqual(one.texts[0]);
  });

  it("keep each phase's documents within its token bounds, the last ones at 1,024 tokens or more", async () => {
    const { train, heldout } = await make(3);
    for (const [tasks, count] of [
      [train, few.tasksPerPhase],
      [heldout, few.heldoutPerBucket],
    ] as const) {
      expect(tasks).toHaveLength(count * few.phases.length);
      for (const [k, phase] of few.phases.entries()) {
        if (!("tokens" in phase.length)) throw new Error("expected a length in tokens");
        const [low, high] = phase.length.tokens;
        expect(high).toBe(phase.maxTokens);
        for (const task of tasks.slice(k * count, (k + 1) * count)) {
          expect(task.promptTokens).toBeGreaterThanOrEqual(low);
          expect(task.promptTokens).toBeLessThanOrEqual(high);
        }
      }
      expect(Math.min(...tasks.slice(-count).map((task) => task.promptTokens))).toBeGreaterThanOrEqual(1024);
    }
    const bounds = few.phases.map((phase) => phase.maxTokens);
    expect(bounds.at(-2)).toBe(1023);
  });

  it("name no entity of the held-out tasks in training tasks or demonstrations", async () => {
    const { train, heldout, shown } = await make(4);
    const trained = new Set(train.flatMap(namesOf));
    const held = new Set(heldout.flatMap(namesOf));
    expect(trained.size).toBeGreaterThan(100);
    expect(held.size).toBeGreaterThan(60);
    expect([...held].filter((name) => trained.has(name))).toEqual([]);
    const words = new Set(shown.flatMap(({ response }) => response.match(/[A-Z][a-z]+/g) ?? []));
    expect([...held].filter((name) => words.has(name))).toEqual([]);
  });

  it("show short documents only, in two styles without tags, which the reward reads as right", async () => {
    const { shown } = await make(5);
    const { length } = few.demonstrations;
    if (!("tokens" in length)) throw new Error("expected a length in tokens");
    for (const { prompt, response } of shown) {
      expect(countTokens(prompt)).toBeLessThanOrEqual(length.tokens[1]);
      expect(response).not.toContain("think>");
      const sentences = response.split(/(?<=\.) /);
      expect([1, 3]).toContain(sentences.length);
      const text = prompt[0]?.content ?? "";
      for (const quoted of sentences.slice(0, -1)) expect(text).toContain(quoted);
      const input = { source: "synthetic_musique", response, goldAnswers: [sentences.at(-1) as string] };
      expect(scoreByRule(input, { mode: "paper", requireThink: false }).score).toBe(1);
    }
    const direct = shown.filter(({ response }) => response.startsWith("Therefore")).length / shown.length;
    expect(Math.abs(direct - few.demonstrations.directShare)).toBeLessThan(0.2);
  });
});

describe("recipes of the demo", () => {
  afterEach(() => vi.unstubAllEnvs());

  it("make valid configurations whose phases are the recipe's", () => {
    for (const recipe of RECIPES) {
      const config = parseConfig(demoConfig(recipe, recipe.options, run));
      expect(config.phases).toEqual(recipe.phases.map(({ maxTokens, steps }) => ({ maxTokens, steps })));
      expect(config.warmup.data).toEqual(["sft.jsonl"]);
      expect(config.evaluation.tasksPerBucket).toBeLessThanOrEqual(recipe.heldoutPerBucket);
      const drawn = Math.max(...config.phases.map(({ steps }) => steps)) * config.rollout.promptsPerStep;
      expect(recipe.tasksPerPhase).toBeGreaterThanOrEqual(drawn);
      if (recipe.wasm) parseConfig(demoConfig(recipe, recipe.wasm, run));
    }
    const config = parseConfig(demoConfig(smollm2, smollm2.options, run));
    expect(config.engine).toMatchObject({ executor: "auto", precision: "bfloat16" });
    expect(config.reward.requireThink).toBe(false);
    expect(config.model.lora).toMatchObject({ rank: 16, alpha: 32 });
    const full = recipeOf("smollm2-full");
    expect(parseConfig(demoConfig(full, full.options, run)).model.lora).toBeNull();
  });

  it("take any option from --set, steps of single phases included", () => {
    const settings = ["phases.2.steps=3", "optimiser.learningRate=0.00001", "warmup.epochs=2"];
    const config = parseConfig(demoConfig(smollm2, smollm2.options, { ...run, settings }));
    expect(config.phases.map(({ steps }) => steps)).toEqual([16, 12, 3]);
    expect(config.optimiser.learningRate).toBe(1e-5);
    expect(config.warmup.epochs).toBe(2);
  });

  it("give the comparison run as many optimiser steps as warm-up and RL have together", () => {
    for (const recipe of RECIPES) {
      const { count } = recipe.demonstrations;
      const stepsOf = (sftOnly: boolean) => {
        const { warmup, phases } = parseConfig(demoConfig(recipe, recipe.options, { ...run, sftOnly }));
        const warmupSteps = Math.ceil((warmup.epochs * count) / warmup.batchRows);
        return { warmupSteps, rl: phases.reduce((sum, { steps }) => sum + steps, 0) };
      };
      const full = stepsOf(false);
      expect(stepsOf(true)).toEqual({ warmupSteps: full.warmupSteps + full.rl, rl: 0 });
    }
  });

  it("are refused by a wrong name, and where the native engine that one needs is missing", async () => {
    const options = { recipe: "smollm3", seed: "1", out: join("never", "made"), set: [] };
    expect((await failure(() => demoCommand(options), "WEIR_E_USAGE")).message).toContain("small, smollm2");
    vi.stubEnv("WEIR_NATIVE", "off");
    const error = await failure(() => demoCommand({ ...options, recipe: "smollm2" }), "WEIR_E_NATIVE_ENGINE");
    expect(error.message).toMatch(/switched off by WEIR_NATIVE=off.*recipe small/);
  });

  it("are refused a wrong setting of the monitor before anything is made", async () => {
    const out = join(await mkdtemp(join(tmpdir(), "weir-demo-")), "never", "made");
    const options = { recipe: "small", seed: "1", out, set: ["monitor.host=0.0.0.0"] };
    await failure(() => demoCommand(options), "WEIR_E_MONITOR_UNSAFE");
    await failure(() => demoCommand({ ...options, set: ["rollout.groupsize=4"] }), "WEIR_E_CONFIG");
    expect(existsSync(join(out, ".."))).toBe(false);
  });
});
