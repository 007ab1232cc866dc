import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { assertInVocabulary } from "../../src/data/measure.js";
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

  it("a prompt with a token that the model does not have, by its task", async () => {
    const model = fixture("17-model-folders-refused-or-misnamed/tokenizer-bigger");
    const tokenizer = await loadTokenizer(model);
    const { ids } = tokenizer.applyChatTemplate([{ role: "user", content: "a <new> 0" }], {
      addGenerationPrompt: true,
    });
    const error = await failure(() => assertInVocabulary(ids, 'f, task "t"', tokenizer, 400), "WEIR_E_TOKENIZER");
    expect(error.message).toContain('f, task "t": the token "<new>" has the id 400');
    assertInVocabulary(ids, "f", tokenizer, 401);
  });
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
