/**
 * Rules in threads that can be ended: a rule that never comes back, such as one with a catastrophic regular expression, costs its own
 * rollout and nothing else.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { RuleFunctionInput } from "../contracts/rule.js";
import { WeirError } from "../errors.js";
import { KillableThreads } from "../system/killable-threads.js";
import { threadEntry } from "../system/thread-entry.js";
import { rewardFamily } from "./family.js";
import { type RuleOptions, scoreByRule } from "./rule.js";
import type { RuleEnd } from "./rule-function.js";

/** Computes the rule of one response, here or in a thread. */
export interface RuleScorer {
  /** Errors: WEIR_E_REWARD_SOURCE for a data source without a built-in rule; WEIR_E_PART for a module that cannot be used. */
  score(input: RuleFunctionInput, signal: AbortSignal): Promise<RuleEnd>;
  /** Errors: WEIR_E_PART for a module that cannot be used. */
  connect(): Promise<void>;
  dispose(): Promise<void>;
}

/** What a thread is started with. */
export interface RuleThreadData {
  readonly options: RuleOptions;
  /** URL of the module of a rule of the user's own; null runs the built-in rules. */
  readonly module: string | null;
}

export interface RuleThreadOptions extends RuleOptions {
  readonly workers: number;
  /** Deadline of one rule, ms. */
  readonly timeoutMs: number;
  /** Path of a module of the user's own; null for the built-in rules. */
  readonly module: string | null;
}

/** The built-in rules in the caller's own thread, without a deadline. */
export function inlineRules(options: RuleOptions): RuleScorer {
  return {
    score: async (input) => ({ kind: "result", result: scoreByRule(input, options) }),
    connect: async () => undefined,
    dispose: async () => undefined,
  };
}

export function createRuleThreads({ mode, requireThink, workers, timeoutMs, module }: RuleThreadOptions): RuleScorer {
  const workerData: RuleThreadData = {
    options: { mode, requireThink },
    module: module === null ? null : pathToFileURL(resolve(module)).href,
  };
  const threads = new KillableThreads<RuleFunctionInput, RuleEnd>({
    program: threadEntry(new URL("./rule-thread", import.meta.url)),
    workerData,
    limit: workers,
    timeoutMs,
    refusal: (reason) => refusal(module, reason),
  });
  return {
    async score(input, signal) {
      // Here, so that it is an error of the run and not of one rollout.
      if (module === null) rewardFamily(input.source);
      const end = await threads.run(input, signal);
      switch (end.kind) {
        case "answer":
          return end.answer;
        case "timedOut":
          return {
            kind: "timedOut",
            afterMs: end.afterMs,
            reason: `the rule gave no score within reward.rules.timeoutMs = ${end.afterMs} ms and was ended`,
          };
        case "lost":
          return { kind: "failed", code: "WEIR_E_PART", reason: `the thread of the rule ended: ${end.reason}` };
        case "cancelled":
          return { kind: "failed", code: "WEIR_E_PART", reason: "the rule was cancelled" };
      }
    },
    connect: () => threads.ready(),
    dispose: () => threads.close(),
  };
}

function refusal(module: string | null, reason: string): WeirError {
  const what =
    module === null
      ? "the rules cannot run in a thread"
      : `the rule of reward.rules.module = "${module}" cannot be used`;
  const remedy = module === null ? "" : "; expected an ES module whose default export is a function";
  return new WeirError("WEIR_E_PART", `${what}: ${reason}${remedy}`, { module });
}
