/** Lists of choices stand once: types, options and the command line follow the constants of src/contracts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SCHEDULES } from "../../src/algorithms/schedules.js";
import { ADVANCE_RULES, RETROSPECTIVE_MODES } from "../../src/contracts/curriculum.js";
import { BACKENDS, EXECUTORS, LORA_TARGETS, WEIGHT_DTYPES } from "../../src/contracts/engine.js";
import { SHORT_STEP_RULES } from "../../src/contracts/group.js";
import { LOSS_AGGREGATIONS } from "../../src/contracts/loss.js";
import { REWARD_MODES } from "../../src/contracts/reward.js";
import { DECAY_SCOPES, KL_ESTIMATORS, OLD_LOGPROB_SOURCES, SFT_AGGREGATIONS } from "../../src/contracts/trainer.js";

const ROOT = join(import.meta.dirname, "..", "..");
const LISTS: Readonly<Record<string, readonly string[]>> = {
  ADVANCE_RULES,
  BACKENDS,
  DECAY_SCOPES,
  EXECUTORS,
  KL_ESTIMATORS,
  LORA_TARGETS,
  LOSS_AGGREGATIONS,
  OLD_LOGPROB_SOURCES,
  RETROSPECTIVE_MODES,
  REWARD_MODES,
  SCHEDULES,
  SFT_AGGREGATIONS,
  SHORT_STEP_RULES,
  WEIGHT_DTYPES,
};

const sources = ["src", "monitor", "setup"].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true })
    .map(String)
    .filter((name) => /\.(ts|tsx|mjs)$/.test(name) && !/node_modules|\.generated\./.test(name))
    .map((name) => ({ name: join(folder, name), text: readFileSync(join(ROOT, folder, name), "utf8") })),
);

/** Files in which two members of the list follow each other in an array, a union type or a comparison. */
function listedIn(members: readonly string[]): string[] {
  const member = `"(${members.join("|")})"`;
  const again = new RegExp(`${member}(\\s*[,|]\\s*|\\s*\\|\\|\\s*\\w+\\s*===\\s*)(?!\\1)${member}`);
  return sources.filter(({ text }) => again.test(text)).map(({ name }) => name);
}

describe("choices", () => {
  it.each(Object.keys(LISTS))("%s stand once", (name) => {
    const declared = sources.filter(({ text }) => text.includes(`export const ${name} = [`)).map((file) => file.name);
    expect(declared).toHaveLength(1);
    expect(listedIn(LISTS[name] as readonly string[]).filter((file) => !declared.includes(file))).toEqual([]);
  });
});
