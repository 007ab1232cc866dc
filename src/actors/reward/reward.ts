/** The built-in reward parts: `rule` (Eq. 12) and `hybrid` (Eq. 14). Both score the text of a rollout, without length shaping. */
import type { Config } from "../../config/schema.js";
import type { Judge } from "../../contracts/judge.js";
import type { RewardActor, RewardFamily, RewardInput } from "../../contracts/reward.js";
import type { RuleFunctionInput } from "../../contracts/rule.js";
import { type HybridPolicy, paperPolicy, scoreHybrid } from "../../rewards/hybrid.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { type RuleOptions, ruleOutcome } from "../../rewards/rule.js";
import { createRuleThreads, inlineRules, type RuleScorer } from "../../rewards/rule-threads.js";
import { withoutEndText } from "../../rewards/text.js";

export interface RuleRewardOptions extends RuleOptions {
  /** Where rules are computed; in the caller's own thread where it is left out. */
  readonly rules?: RuleScorer;
  /** The rule is one of the user's own, which may score any data. */
  readonly ownRule?: boolean;
}

/** The response as the rules see it: without its end-of-sequence text. What only a rule of the user's own reads is left out for others. */
function ruleInput({ task, rollout }: RewardInput, ownRule: boolean): RuleFunctionInput {
  return {
    source: task.source,
    response: withoutEndText(rollout.text),
    goldAnswers: task.goldAnswers,
    problem: ownRule ? problemOf(task) : null,
    document: ownRule ? task.document : null,
    meta: ownRule ? task.meta : {},
  };
}

/** Scores by rule alone. Rejects with WEIR_E_REWARD_SOURCE for an unknown data source. */
export function createRuleReward(options: RuleRewardOptions): RewardActor {
  const { rules = inlineRules(options), ownRule = false } = options;
  return {
    kind: ownRule ? "rule-module" : "rule",
    specificationVersion: 1,
    async handle(input, given) {
      const end = await rules.score(ruleInput(input, ownRule), given.signal);
      return end.kind === "result" ? ruleOutcome(end.result, options.mode) : end;
    },
    connect: () => rules.connect(),
    dispose: () => rules.dispose(),
  };
}

export interface HybridRewardOptions extends RuleRewardOptions {
  readonly judge: Judge;
  /** How each family is scored; as the paper does where it is left out. Null is a rule of the user's own. */
  readonly policyOf?: (family: RewardFamily | null) => HybridPolicy;
}

/** Scores by rule and judge. Rejects with WEIR_E_REWARD_SOURCE for an unknown data source. */
export function createHybridReward(options: HybridRewardOptions): RewardActor {
  const { judge, rules = inlineRules(options), ownRule = false, policyOf = paperPolicy } = options;
  return {
    kind: ownRule ? "hybrid-module" : "hybrid",
    specificationVersion: 1,
    ...(judge.readiness ? { readiness: judge.readiness } : {}),
    async handle(input, { signal }) {
      const end = await rules.score(ruleInput(input, ownRule), signal);
      if (end.kind !== "result") return end;
      const { result: rule } = end;
      const asked = { rule, problem: problemOf(input.task), group: input.rollout.groupId };
      return scoreHybrid(asked, policyOf(rule.family), options.mode, judge, signal);
    },
    async connect(given) {
      await rules.connect();
      await judge.connect?.(given);
    },
    async dispose() {
      await rules.dispose();
      await judge.dispose?.();
    },
  };
}

type RewardConfig = Config["reward"];

/** The `rule` and `hybrid` of a configuration without their judge: rules run in threads. */
export function ruleRewardOptions({ mode, requireThink, rules }: RewardConfig): RuleRewardOptions {
  const { workers, timeoutMs, module } = rules;
  return {
    ...{ mode, requireThink, ownRule: module !== null },
    rules: createRuleThreads({ mode, requireThink, workers, timeoutMs, module }),
  };
}

/** How a configuration has each family scored. */
export function hybridPolicies({ hybrid, correctAt }: Pick<RewardConfig, "hybrid" | "correctAt">) {
  const { combine, askJudge, weights, families } = hybrid;
  const of = { "multiple-choice": families.multipleChoice, numeric: families.numeric, qa: families.qa };
  return (family: RewardFamily | null): HybridPolicy => {
    const own = family === null ? null : of[family];
    return {
      combine: own?.combine ?? combine,
      askJudge: own?.askJudge ?? askJudge,
      weights: own?.weights ?? weights,
      correctAt,
    };
  };
}
