import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { tasksOf } from "../../src/actors/run/gold-check.js";
import { prepareSft, prepareTasks, vocabularyCheck } from "../../src/actors/run/prepare.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { phasesFrom } from "../../src/algorithms/phases.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Alert } from "../../src/contracts/alert.js";
import { readTasks } from "../../src/data/read-tasks.js";
import type { ErrorCode, WeirError } from "../../src/errors.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/** Data that no rule can score are found when a run opens them, before anything is trained. */

const fixture = (name: string) => join(OWN_FIXTURES, "cases", name);

async function refused(over: Partial<ConfigInput>, code: ErrorCode): Promise<WeirError> {
  const system = createTrainingSystem(await tinyConfig({ phases: [{ maxTokens: 300, steps: 1 }], ...over }));
  return failure(() => system.start().then(() => system.done), code);
}

async function rows(...lines: object[]): Promise<string> {
  const file = join(await temporaryFolder(), "rows.jsonl");
  await writeFile(file, lines.map((line) => JSON.stringify(line)).join("\n"));
  return file;
}

const row = (source: string, gold: string, index = 0) => ({
  data_source: source,
  prompt: `Box ${index}?`,
  reward_model: { ground_truth: gold },
  extra_info: { index },
});

describe("a run refuses at its start", () => {
  it.each(["paper", "released"] as const)("gold answers without an answer, %s", async (mode) => {
    const train = fixture("05-gold-without-sentence/bare.jsonl");
    const error = await refused({ data: { train: [train] }, reward: { mode } }, "WEIR_E_DATA");
    expect(error.message).toMatch(/bare\.jsonl, row 0: .*"coin".*"Therefore, the answer is X\."/);
  });

  it("training rows half of which have a source without a rule", async () => {
    const train = fixture("07-run-without-learning/half.jsonl");
    const error = await refused({ data: { train: [train] } }, "WEIR_E_REWARD_SOURCE");
    expect(error.message).toMatch(/4 of 8 training rows.*"triviaqa" \(4\)/);
  });

  it("held-out rows none of which has a rule, or whose gold answers cannot be read", async () => {
    const train = await rows(row("musique", "Therefore, the answer is a coin."));
    const none = await rows(row("gov_report", "Therefore, the answer is x."));
    await refused({ data: { train: [train], heldout: [none] } }, "WEIR_E_REWARD_SOURCE");
    const bare = await rows(row("musique", "coin"));
    await refused({ data: { train: [train], heldout: [bare] } }, "WEIR_E_DATA");
  });
});

describe("a token that the model does not have is named by its task or row", () => {
  const model = fixture("17-model-folders-refused-or-misnamed/tokenizer-bigger");
  const file = fixture("17-model-folders-refused-or-misnamed/new-token.jsonl");
  const phases = phasesFrom([{ maxTokens: 500, steps: 1 }]);

  it("in prompts of tasks", async () => {
    const tokenizer = await loadTokenizer(model);
    const files = [{ file, tasks: await readTasks(file) }];
    // The folder's config.json has a vocabulary of 400; its tokenizer has the token <new> with the id 400.
    const prepare = (size: number) =>
      prepareTasks(tasksOf(files), tokenizer, phases, 500, "error", vocabularyCheck(files, tokenizer, size));
    const error = await failure(() => prepare(400), "WEIR_E_TOKENIZER");
    expect(error.message).toMatch(/new-token\.jsonl, task "musique:0:[0-9a-f]{8}": the token "<new>" has the id 400/);
    expect(error.message).toContain("the ids 0 to 399");
    expect(prepare(401).tasks).toHaveLength(4);
  });

  it("in demonstrations, the response included", async () => {
    const tokenizer = await loadTokenizer(model);
    const plain = { prompt: "a", response: "b" };
    const prepare = (size: number) =>
      prepareSft([plain, { ...plain, response: "<new>" }], "f", tokenizer, [0], 500, size);
    expect((await failure(() => prepare(400), "WEIR_E_TOKENIZER")).message).toContain('f, row 1: the token "<new>"');
    expect(prepare(401)).toHaveLength(2);
    await failure(() => prepareSft([], "f", tokenizer, [0], 500, 401), "WEIR_E_DATA");
  });
});

it("held-out tasks without a rule are left out of the evaluation, and an alert says so", async () => {
  const gold = "Therefore, the answer is a coin.";
  const train = await rows(...Array.from({ length: 8 }, (_, i) => row("musique", gold, i)));
  const heldout = await rows(row("musique", gold, 50), row("gov_report", gold, 51), row("trec", gold, 52));
  const config = await tinyConfig({
    data: { train: [train], heldout: [heldout] },
    phases: [{ maxTokens: 300, steps: 1 }],
    warmup: { data: [await rows({ prompt: "Box?", response: gold })], epochs: 1 },
  });
  const system = createTrainingSystem(config);
  const alerts: Alert[] = [];
  system.alerts$.subscribe((alert) => alerts.push(alert));
  await system.start();
  await system.done.catch(() => undefined);
  const [alert] = alerts.filter(({ rule }) => rule === "unscorable_data");
  expect(alert?.text).toContain(
    '2 of 3 held-out tasks are left out of every evaluation: there is no reward rule for "gov_report" (1), "trec" (1)',
  );
  expect(alert?.value).toBeCloseTo(1 / 3);
});

it("a reward of one's own may score any source and any gold answer", async () => {
  const train = await rows(...Array.from({ length: 8 }, (_, i) => row(i % 2 ? "triviaqa" : "musique", "coin", i)));
  const config = await tinyConfig({
    data: { train: [train] },
    phases: [{ maxTokens: 300, steps: 1 }],
    evaluation: { initial: false },
  });
  const system = createTrainingSystem(config, { actors: { reward: parityReward } });
  await system.start();
  expect((await system.done).status).toBe("completed");
});
