import { spansOfTokens } from "../../algorithms/behaviours.js";
import type { Trace } from "../../contracts/trace.js";
import { behavioursOf } from "../../streams/telemetry/behaviour-metrics.js";
import type { StepResult } from "./rl-step.js";
import type { RunContext } from "./run-context.js";

/** What traces are made of: a step that was committed, or one that the guard had thrown away. */
export type TracedStep = Pick<StepResult, "step" | "groups" | "kept"> & {
  readonly update: Pick<StepResult["update"], "rollouts" | "judgedBehaviours">;
};

/** Turns the groups of a step into traces: what the rollouts parquet and the monitor's trace list hold. */
export function tracesOf(context: Pick<RunContext, "tokenizer" | "time">, result: TracedStep): Trace[] {
  const advantages = new Map(
    result.kept.flatMap((group) =>
      group.samples.map((sample) => [sample.rollout.id, mean(sample.advantages)] as const),
    ),
  );
  const prompts = new Map<string, string>();
  const time = context.time.now();
  return result.groups.flatMap((group) =>
    group.members.map(({ rollout, outcome, reward }): Trace => {
      let prompt = prompts.get(group.id);
      if (prompt === undefined) {
        prompt = context.tokenizer.applyChatTemplate(group.task.messages, { addGenerationPrompt: true }).text;
        prompts.set(group.id, prompt);
      }
      const pieces = rollout.tokenIds.map((id) => context.tokenizer.tokenText(id));
      const trained = result.update.rollouts.get(rollout.id);
      return {
        id: rollout.id,
        groupId: group.id,
        taskId: group.task.id,
        source: group.task.source,
        step: result.step,
        phase: group.phase,
        sampleIndex: rollout.sampleIndex,
        carried: group.carried,
        policyVersion: rollout.policy[0]?.version ?? 0,
        lag: trained?.lag ?? null,
        prompt,
        completion: rollout.text,
        goldAnswer: group.task.goldAnswers.join(" | "),
        outcome,
        reward,
        advantage: advantages.get(rollout.id) ?? null,
        promptTokens: rollout.promptIds.length,
        tokens: rollout.tokenIds.map((id, t) => ({
          id,
          text: pieces[t] ?? "",
          logprob: rollout.samplerLogprobs[t] ?? 0,
          entropy: rollout.entropies?.[t] ?? null,
          weight: trained?.weights?.[t] ?? null,
          advantage: trained?.tokens?.advantages[t] ?? null,
          ratio: trained?.tokens?.ratios[t] ?? null,
          klOld: trained?.tokens?.klUpdate?.[t] ?? null,
          klRef: trained?.klRef?.[t] ?? null,
          lossShare: trained?.tokens?.lossShares?.[t] ?? null,
        })),
        behaviours: spansOfTokens(behavioursOf(rollout), rollout.text, pieces),
        judgedBehaviours: result.update.judgedBehaviours?.get(rollout.id) ?? null,
        finish: rollout.finish,
        time,
      };
    }),
  );
}

/** The traces shown live: culprits of alarms always (I15); whole groups, the trained ones first, up to `limit` rollouts. */
export function tracesToShow(traces: readonly Trace[], limit: number, culprits: ReadonlySet<string>): Trace[] {
  const trained = traces.filter((trace) => trace.advantage !== null);
  const others = traces.filter((trace) => trace.advantage === null);
  return [...trained, ...others].filter(({ id }, i) => i < limit || culprits.has(id));
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
