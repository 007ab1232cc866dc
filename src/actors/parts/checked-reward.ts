/**
 * Owns the check of what rewards and judges give. One that throws has failed for this rollout, and the outcome says which
 * part it was. An answer that is none at all is a fault of the part and ends the run with WEIR_E_PART. A value that is not a finite
 * number makes that one outcome `invalid` (I1); the first is reported with the part's name.
 */
import type { Judge, JudgeOptions, JudgeReply, JudgeVerdict } from "../../contracts/judge.js";
import type { RewardActor, RewardOutcome } from "../../contracts/reward.js";
import { WeirError } from "../../errors.js";
import { checkedReadiness } from "./checked-readiness.js";
import { faced, isFiniteNumber, isRecord, type PartLabel, partError, shown, thrown } from "./part-errors.js";

const OUTCOME =
  'handle() resolves to { kind: "scored", value: finite number, parts: { name: finite number }, prediction: string or null }, ' +
  '{ kind: "abstained" | "invalid", reason }, { kind: "timedOut", afterMs, reason } or { kind: "failed", code, reason }, with judge: JudgeUse where one was asked';

const VERDICT =
  'ask() resolves to { kind: "verdict", value: 0 or 1, reply: string }, { kind: "timedOut", afterMs, reason } or ' +
  '{ kind: "failed", code, reason }';

const REPLY =
  'chat() resolves to { kind: "reply", text: string }, { kind: "timedOut", afterMs, reason } or { kind: "failed", code, reason }';

/** What is wrong with the outcome of a reward, or null. */
function outcomeFault(outcome: unknown): string | null {
  if (!isRecord(outcome)) return `gave ${shown(outcome)} as its outcome`;
  const use = outcome.judge === undefined ? null : useFault(outcome.judge);
  if (use !== null) return `gave an outcome whose judge ${use}`;
  switch (outcome.kind) {
    case "scored":
      if (typeof outcome.value !== "number") return `scored with the value ${shown(outcome.value)}`;
      if (!isRecord(outcome.parts)) return `scored with parts ${shown(outcome.parts)}`;
      for (const [name, value] of Object.entries(outcome.parts))
        if (!isFiniteNumber(value)) return `scored with the part "${name}" = ${shown(value)}`;
      if (outcome.prediction !== null && typeof outcome.prediction !== "string")
        return `scored with the prediction ${shown(outcome.prediction)}`;
      return null;
    case "abstained":
    case "invalid":
      return typeof outcome.reason === "string" ? null : `${outcome.kind} with the reason ${shown(outcome.reason)}`;
    case "timedOut":
    case "failed":
      return endFault(outcome);
    default:
      return `gave an outcome of the unknown kind ${shown(outcome.kind)}`;
  }
}

/** What is wrong with what a judge is said to have taken, or null: its numbers enter metrics. */
function useFault(use: unknown): string | null {
  if (!isRecord(use)) return `took ${shown(use)}`;
  for (const name of ["requests", "seconds"] as const)
    if (!isFiniteNumber(use[name])) return `took ${shown(use[name])} ${name}`;
  for (const name of ["promptTokens", "completionTokens"] as const)
    if (use[name] !== null && !isFiniteNumber(use[name])) return `took ${name} ${shown(use[name])}`;
  return typeof use.cached === "boolean" ? null : `was cached: ${shown(use.cached)}`;
}

/** What is wrong with a `timedOut` or `failed` of a reward or judge, or null. */
function endFault(end: Readonly<Record<string, unknown>>): string | null {
  if (typeof end.reason !== "string") return `gave "${end.kind}" with the reason ${shown(end.reason)}`;
  if (end.kind === "timedOut") return isFiniteNumber(end.afterMs) ? null : `timed out after ${shown(end.afterMs)} ms`;
  return typeof end.code === "string" && end.code !== "" ? null : `failed with the code ${shown(end.code)}`;
}

function verdictFault(verdict: unknown): string | null {
  if (!isRecord(verdict)) return `gave ${shown(verdict)} as its verdict`;
  if (verdict.kind === "timedOut" || verdict.kind === "failed") return endFault(verdict);
  if (verdict.kind !== "verdict") return `gave a verdict of the unknown kind ${shown(verdict.kind)}`;
  if (verdict.value !== 0 && verdict.value !== 1) return `gave the verdict ${shown(verdict.value)}`;
  return typeof verdict.reply === "string" ? null : `gave a verdict with the reply ${shown(verdict.reply)}`;
}

/** The reward, its outcomes checked. What it throws, unless it was cancelled or has a code, becomes a `failed` outcome (I1). */
export function checkedReward(actor: RewardActor, label: PartLabel, report: (error: WeirError) => void): RewardActor {
  let reported = false;
  return faced(actor, {
    ...(actor.readiness ? { readiness: checkedReadiness(actor.readiness, label) } : {}),
    async handle(input, options): Promise<RewardOutcome> {
      let outcome: RewardOutcome;
      try {
        outcome = await actor.handle(input, options);
      } catch (error) {
        if (options.signal.aborted || WeirError.isInstance(error)) throw error;
        return {
          kind: "failed",
          code: "WEIR_E_PART",
          reason: `the reward part "${label.name}" threw: ${thrown(error)}`,
        };
      }
      const fault = outcomeFault(outcome);
      if (fault !== null) throw partError(label, `${fault} for rollout ${input.rollout.id}`, OUTCOME);
      if (outcome.kind !== "scored" || Number.isFinite(outcome.value)) return outcome;
      const error = partError(label, `scored with the value ${outcome.value} for rollout ${input.rollout.id}`, OUTCOME);
      if (!reported) report(error);
      reported = true;
      return { kind: "invalid", reason: error.message };
    },
  });
}

/** What is wrong with the answer to a conversation, or null. */
function replyFault(reply: unknown): string | null {
  if (!isRecord(reply)) return `gave ${shown(reply)} as its reply`;
  if (reply.kind === "timedOut" || reply.kind === "failed") return endFault(reply);
  if (reply.kind !== "reply") return `gave a reply of the unknown kind ${shown(reply.kind)}`;
  return typeof reply.text === "string" ? null : `gave a reply with the text ${shown(reply.text)}`;
}

/** The judge, its verdicts and replies checked. What it throws becomes a `failed` one that names it, unless it was cancelled. */
export function checkedJudge(judge: Judge, label: PartLabel): Judge {
  const failed = (error: unknown, { signal }: JudgeOptions): Extract<JudgeVerdict, { kind: "failed" }> => {
    if (signal.aborted || WeirError.isInstance(error)) throw error;
    return { kind: "failed", code: "WEIR_E_PART", reason: `the judge part "${label.name}" threw: ${thrown(error)}` };
  };
  const ask: Judge["ask"] = async (query, options) => {
    let verdict: JudgeVerdict;
    try {
      verdict = await judge.ask(query, options);
    } catch (error) {
      return failed(error, options);
    }
    const fault = verdictFault(verdict);
    if (fault !== null) throw partError(label, fault, VERDICT);
    return verdict;
  };
  const chat: NonNullable<Judge["chat"]> = async (messages, options) => {
    let reply: JudgeReply | undefined;
    try {
      reply = await judge.chat?.(messages, options);
    } catch (error) {
      return failed(error, options);
    }
    const fault = replyFault(reply);
    if (fault !== null) throw partError(label, fault, REPLY);
    return reply as JudgeReply;
  };
  return faced(judge, {
    ...(judge.readiness ? { readiness: checkedReadiness(judge.readiness, label) } : {}),
    ...(judge.chat ? { chat } : {}),
    ask,
  });
}
