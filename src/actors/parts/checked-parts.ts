/**
 * The border between weir and a replaceable part: the part's shape is checked when it is given, each of its answers when it
 * gives one. What comes through keeps the contract; everything else is WEIR_E_PART naming the part.
 */
import type { AdvantagePart } from "../../contracts/advantage.js";
import type { Benchmark } from "../../contracts/benchmark.js";
import type { CurriculumActor } from "../../contracts/curriculum.js";
import type { GroupFilter } from "../../contracts/filter.js";
import type { Guard } from "../../contracts/guard.js";
import type { Judge } from "../../contracts/judge.js";
import type { LossPart } from "../../contracts/loss.js";
import type { PolicyStore } from "../../contracts/policy-store.js";
import type { RewardActor } from "../../contracts/reward.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { realTime, type Timers } from "../../system/time.js";
import { checkedAdvantage } from "./checked-advantage.js";
import { checkedBenchmark } from "./checked-benchmark.js";
import { checkedCurriculum } from "./checked-curriculum.js";
import { checkedGuard, checkedPolicyStore, checkedSampler, checkedTrainer } from "./checked-engines.js";
import { checkedFilter } from "./checked-filter.js";
import { checkedLoss } from "./checked-loss.js";
import { checkedJudge, checkedReward } from "./checked-reward.js";
import { checkedWorkQueue } from "./checked-work-queue.js";
import { faced, type PartLabel, partError, shown, thrown } from "./part-errors.js";
import type { ChosenKind, PartKind, Parts } from "./part-kinds.js";

const METHODS: Readonly<Record<PartKind, readonly string[]>> = {
  advantage: ["handle"],
  reward: ["handle"],
  curriculum: ["setup", "next", "observe", "decide", "snapshot", "restore"],
  judge: ["ask"],
  loss: ["evaluate"],
  sampler: ["sample", "adopt", "release", "load"],
  trainer: [
    ...["forwardBackward", "sftForwardBackward", "gradientNorm", "discardGradients", "optimStep", "logprobs"],
    ...["publish", "saveState", "loadState", "freezeReference", "resetOptimiser"],
  ],
  policyStore: ["publish", "current", "fetch", "watch", "retain"],
  workQueue: ["offer", "take", "results", "dead", "depth", "clear", "announce", "announced"],
  filter: ["filter"],
  guard: ["judge"],
  benchmark: ["item", "score"],
};

/** Versions of each contract that are taken; an advantage of version 2 sees its batch. */
const VERSIONS: Readonly<Record<PartKind, readonly number[]>> = {
  advantage: [1, 2],
  reward: [1],
  curriculum: [1],
  judge: [1],
  loss: [1],
  sampler: [2],
  trainer: [2],
  policyStore: [1],
  workQueue: [1],
  filter: [1],
  guard: [1],
  benchmark: [1],
};

/** The kinds of parts that can be replaced. */
export const PART_KINDS = Object.keys(METHODS) as readonly PartKind[];

/** Those of which a run has one part. */
export const CHOSEN_KINDS = PART_KINDS.filter((kind): kind is ChosenKind => kind !== "benchmark");

/** Errors: WEIR_E_PART where something is no part of this kind. A part given by hand may come from JavaScript. */
export function assertPart(label: PartLabel & { readonly part: PartKind }, part: unknown): void {
  const methods = METHODS[label.part];
  const versions: readonly unknown[] = VERSIONS[label.part];
  const contract = `a ${label.part} part has kind: a non-empty string, specificationVersion: ${versions.join(" or ")}, and ${methods.map((method) => `${method}()`).join(", ")}`;
  if (typeof part !== "object" || part === null) throw partError(label, `is ${shown(part)}`, contract);
  if (part instanceof Promise) {
    part.catch(() => undefined);
    throw partError(
      label,
      "is a Promise",
      `${contract}; a factory returns the part itself, so await what it needs before`,
    );
  }
  const record = part as Readonly<Record<string, unknown>>;
  const missing = methods.filter((method) => typeof record[method] !== "function");
  if (missing.length > 0)
    throw partError(label, `lacks ${missing.map((method) => `${method}()`).join(", ")}`, contract);
  if (!versions.includes(record.specificationVersion))
    throw partError(label, `has specificationVersion ${shown(record.specificationVersion)}`, contract);
  if (typeof record.kind !== "string" || record.kind === "")
    throw partError(label, `has the kind ${shown(record.kind)}`, contract);
  if (record.dispose !== undefined && typeof record.dispose !== "function")
    throw partError(label, `has dispose = ${shown(record.dispose)}`, "dispose, where there is one, is a function");
}

/** A part whose every answer is checked. `limitMs`: deadline of calls that leave the process. `report` hears of faults that end nothing: a reward of NaN, a `dispose` that failed. */
export function checkedPart<K extends PartKind>(
  label: PartLabel & { readonly part: K },
  part: Parts[K],
  report: (error: WeirError) => void,
  limitMs = Number.POSITIVE_INFINITY,
  timers: Timers = realTime,
): Parts[K] {
  const limits = { limitMs, timers };
  const checks: { readonly [P in PartKind]: (given: Parts[P]) => Parts[P] } = {
    advantage: (given: AdvantagePart) => checkedAdvantage(given, label),
    reward: (given: RewardActor) => checkedReward(given, label, report),
    curriculum: (given: CurriculumActor) => checkedCurriculum(given, label),
    judge: (given: Judge) => checkedJudge(given, label),
    loss: (given: LossPart) => checkedLoss(given, label),
    sampler: (given: Sampler) => checkedSampler(given, label, limits),
    trainer: (given: Trainer) => checkedTrainer(given, label, limits),
    policyStore: (given: PolicyStore) => checkedPolicyStore(given, label, limits),
    workQueue: (given: Parts["workQueue"]) => checkedWorkQueue(given, label),
    filter: (given: GroupFilter) => checkedFilter(given, label),
    guard: (given: Guard) => checkedGuard(given, label, limits),
    benchmark: (given: Benchmark) => checkedBenchmark(given, label),
  };
  const checked = checks[label.part](part);
  const { dispose } = part as { dispose?: () => Promise<void> | void };
  if (dispose === undefined) return checked;
  const guarded = {
    async dispose() {
      try {
        await dispose.call(part);
      } catch (error) {
        report(
          partError(label, `threw in dispose(): ${thrown(error)}`, "dispose() releases what the part holds", error),
        );
      }
    },
  };
  return faced(checked, guarded as unknown as Partial<Parts[K]>);
}

/** Errors: WEIR_E_PART where the factory throws; errors with a code go through. */
export function makePart<T>(label: PartLabel, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (WeirError.isInstance(error)) throw error;
    throw partError(
      label,
      `could not be made: ${thrown(error)}`,
      "its factory is a function that returns the part",
      error,
    );
  }
}
