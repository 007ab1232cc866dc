/** Scripted rewards and judges: each answers from a list, in order, then repeats the last entry. */
import type { Judge, JudgeQuery, JudgeVerdict } from "../contracts/judge.js";
import type { RewardActor, RewardInput, RewardOutcome } from "../contracts/reward.js";
import { WeirError } from "../errors.js";

function script<Input, Output>(entries: readonly Output[]): { readonly seen: Input[]; next(input: Input): Output } {
  if (entries.length === 0) throw new WeirError("WEIR_E_USAGE", "a script needs at least one entry, got none");
  const seen: Input[] = [];
  return {
    seen,
    next(input) {
      seen.push(input);
      return entries[Math.min(seen.length, entries.length) - 1] as Output;
    },
  };
}

/** A reward that was scored with one part. */
export function scored(value: number): RewardOutcome {
  return { kind: "scored", value, parts: { scripted: value }, prediction: null };
}

/** Gives the outcomes in order of the calls; numbers stand for scored rewards. `seen` holds the inputs. */
export function createScriptedReward(
  outcomes: readonly (number | RewardOutcome)[],
): RewardActor & { readonly seen: readonly RewardInput[] } {
  const { seen, next } = script<RewardInput, number | RewardOutcome>(outcomes);
  return {
    kind: "scripted",
    specificationVersion: 1,
    seen,
    async handle(input) {
      const outcome = next(input);
      return typeof outcome === "number" ? scored(outcome) : outcome;
    },
  };
}

/** Gives the verdicts in order of the questions; 0 and 1 stand for plain verdicts. `seen` holds the questions. */
export function createFakeJudge(
  verdicts: readonly (0 | 1 | JudgeVerdict)[],
): Judge & { readonly seen: readonly JudgeQuery[] } {
  const { seen, next } = script<JudgeQuery, 0 | 1 | JudgeVerdict>(verdicts);
  return {
    kind: "fake",
    specificationVersion: 1,
    seen,
    async ask(query) {
      const verdict = next(query);
      if (typeof verdict !== "number") return verdict;
      return { kind: "verdict", value: verdict, reply: verdict === 1 ? "[[YES]]" : "[[NO]]" };
    },
  };
}
