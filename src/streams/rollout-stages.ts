import { fromEvent, lastValueFrom, merge, pipe, takeUntil } from "rxjs";
import { counterKey } from "../algorithms/random.js";
import type { Group, ScoredRollout } from "../contracts/group.js";
import type { GroupTask } from "../contracts/group-work.js";
import type { RewardActor, RewardOutcome } from "../contracts/reward.js";
import type { Rollout } from "../contracts/rollout.js";
import type { PolicyWanted, SampledSequence, Sampler, SamplingParams } from "../contracts/sampler.js";
import type { Task } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import type { Time } from "../system/time.js";
import { type BoundedQueue, END } from "./bounded-queue.js";
import { checkedOutcome, withDeadline } from "./deadline.js";
import type { GaugeBoard } from "./gauges.js";
import type { GroupWorkers } from "./group-workers.js";
import type { ReadyGate } from "./ready-gate.js";
import { scoreRollout } from "./scoring.js";
import { type Flow, type Remedy, StageFailure, source, stage } from "./stage.js";

/**
 * The stages that make groups: issued tasks ▸ rollouts ▸ rewards ▸ groups. Rollouts are drawn and scored by the run's own sampler and
 * reward, or both by workers; those of workers come with their outcomes and pass through the stage of rewards as they are.
 * Invariants: a slow reward stops the sampler (the `rollouts` queue is full), never grows memory; the members of a group are in the
 * order of their index, and the groups of a round in the order of issue, whatever order their rewards finish in (I11); each issued
 * rollout is reported generated and scored once (I2).
 */

/** A task as the curriculum issued it. */
export interface IssuedTask {
  readonly task: Task;
  readonly promptIds: readonly number[]; // [P]
  readonly phase: number;
  /** RL step that was under way or next when it was issued. */
  readonly step: number;
  readonly visit: number;
  readonly carried: boolean;
  /** Position in the run's order of issue; a task that is issued again has another one. */
  readonly sequence: number;
  /** How often the same visit was issued before; 0 unless its rollouts were lost or became stale. */
  readonly attempt: number;
  /** Groups that are judged by the filter together: the number of the round and its size. */
  readonly round: { readonly id: number; readonly size: number };
}

/** What the stages tell their surroundings; the ledger listens. */
export interface RolloutListener {
  generated(rollout: Rollout, issued: IssuedTask): void;
  scored(member: ScoredRollout, issued: IssuedTask): void;
}

export interface RolloutOptions {
  readonly seed: number;
  readonly groupSize: number;
  /** Calls that the sampler works on at once. */
  readonly callsInFlight: number;
  /** Bound of the queue between sampler and rewards, in groups. */
  readonly queueGroups: number;
  readonly rewardConcurrency: number;
  readonly rewardTimeoutMs: number;
  readonly sampling: SamplingParams;
  /** Policy to sample from; asked for each call. */
  readonly policy: () => PolicyWanted;
  /** Deadline of one sampler call, ms. */
  readonly sampleTimeoutMs: number;
  /** r_final of Eq. 7 from an unshaped reward and a response length. */
  readonly shape: (reward: number, length: number) => number;
  /** Text of token ids, special tokens kept. */
  readonly decode: (ids: readonly number[]) => string;
}

export interface RolloutParts {
  /** Read for each call: a part may be replaced. */
  readonly parts: () => { readonly sampler: Sampler; readonly reward: RewardActor };
  /** Draw and score groups in place of sampler and reward. */
  readonly workers?: GroupWorkers;
  readonly listener: RolloutListener;
  readonly time: Time;
  /** What follows an error of the sampler; without it the stage fails. */
  readonly onSamplerError?: (error: unknown) => Remedy;
  /** Runs a call while the weights that it samples from stand still; without it nothing changes them meanwhile. */
  readonly exclusively?: <T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T>;
  /** Holds rollouts back while the reward takes no work; without it nothing waits. */
  readonly gate?: ReadyGate;
  /** Time of a sampler call, and of a reward, s. */
  readonly spent?: (what: "sample" | "reward", seconds: number) => void;
}

/** Ids that name a group and its members; stable over resumes, unique within a run. */
export function groupIdOf(issued: Pick<IssuedTask, "step" | "sequence">): string {
  return `s${issued.step}-q${issued.sequence}`;
}

export function rolloutIdOf(issued: Pick<IssuedTask, "step" | "sequence">, sampleIndex: number): string {
  return memberId(groupIdOf(issued), sampleIndex);
}

const memberId = (groupId: string, sampleIndex: number) => `${groupId}-g${sampleIndex}`;

/** Keys of a task's G sequences: (run seed, phase, task, visit, sample), and the attempt where it is not the first (I12). */
export function rolloutSeeds(
  seed: number,
  issued: Pick<IssuedTask, "phase" | "task" | "visit" | "attempt">,
  groupSize: number,
): number[] {
  const { phase, task, visit, attempt } = issued;
  const again = attempt === 0 ? [] : ["attempt", attempt];
  return Array.from({ length: groupSize }, (_, g) => counterKey(seed, "rollout", phase, task.id, visit, g, ...again));
}

interface RolloutJob {
  readonly issued: IssuedTask;
  readonly rollout: Rollout;
  /** What a worker found; null where the rollout is still to be scored. */
  readonly outcome: RewardOutcome | null;
  /** False for one that stands for a rollout of a group that was lost. */
  readonly drawn: boolean;
  /** Called once the last rollout of a worker's group has been told. */
  readonly settle: (() => void) | null;
}

interface ScoredJob {
  readonly issued: IssuedTask;
  readonly member: ScoredRollout;
}

/** From sampler calls, each a few tasks, to rounds of whole groups. */
export function rolloutStages(
  given: RolloutParts,
  options: RolloutOptions,
): (calls: Flow<readonly IssuedTask[]>) => Flow<readonly Group[]> {
  const { listener, onSamplerError, workers } = given;
  const bound = options.queueGroups * options.groupSize;
  const rounds = new RoundAssembly(options.groupSize);
  return pipe(
    stage<readonly IssuedTask[], RolloutJob>({
      name: "rollout",
      queue: "tasks",
      bound: 1,
      workers: options.callsInFlight,
      handle: (tasks, { signal, earlier }) =>
        workers
          ? drawElsewhere(tasks, workers, given, options, signal)
          : sampleCall(tasks, earlier, given, options, signal),
      delivering: ({ rollout, issued, drawn, settle }) => {
        if (drawn) listener.generated(rollout, issued);
        settle?.();
      },
      ...(onSamplerError ? { onError: (error) => onSamplerError(error) } : {}),
    }),
    stage<RolloutJob, ScoredJob>({
      name: "reward",
      queue: "rollouts",
      bound,
      workers: options.rewardConcurrency,
      handle: (job, { signal }) => scoreJob(job, given, options, signal),
      delivering: ({ member, issued }) => listener.scored(member, issued),
    }),
    stage<ScoredJob, readonly Group[]>({
      name: "group",
      queue: "scored",
      bound,
      workers: 1,
      handle: ({ issued, member }) => rounds.add(issued, member),
    }),
  );
}

async function sampleCall(
  tasks: readonly IssuedTask[],
  earlier: number,
  { parts, exclusively, spent, time }: RolloutParts,
  options: RolloutOptions,
  signal: AbortSignal,
): Promise<RolloutJob[]> {
  const prompts = tasks.map((issued) => ({
    promptIds: issued.promptIds,
    seeds: rolloutSeeds(options.seed, issued, options.groupSize),
  }));
  const [first] = tasks;
  const name = first === undefined ? "" : `${groupIdOf(first)}+${tasks.length}`;
  const deadlineMs = options.sampleTimeoutMs;
  const call = (cancellable: { readonly signal: AbortSignal }) =>
    parts().sampler.sample(
      {
        // A name is never used again for another try.
        id: earlier === 0 ? name : `${name}#${earlier}`,
        prompts,
        params: options.sampling,
        policy: options.policy(),
        purpose: "training",
        deadlineMs,
      },
      cancellable,
    );
  const timed = async () => {
    const reply = await withDeadline(call, deadlineMs, signal, time);
    if (reply.kind === "value") return reply.value;
    if (reply.kind === "error") throw reply.error;
    throw new WeirError(
      "WEIR_E_ENGINE_TIMEOUT",
      `sampling ${name} took longer than its deadline of ${deadlineMs} ms (engine.requestTimeoutMs)`,
      { id: name, limitMs: deadlineMs },
    );
  };
  const reply = await (exclusively ? exclusively(timed, signal) : timed());
  spent?.("sample", reply.seconds);
  return tasks.flatMap((issued, p) =>
    wholeGroup(reply.sequences[p], p, options.groupSize).map((sequence, g) => ({
      issued,
      rollout: rolloutOf(named(issued), g, sequence, { seed: prompts[p]?.seeds[g] ?? 0, decode: options.decode }),
      ...OWN,
    })),
  );
}

const named = (issued: IssuedTask) => ({
  groupId: groupIdOf(issued),
  task: issued.task,
  promptIds: issued.promptIds,
});

/** Of rollouts that the run's own sampler drew. */
const OWN = { outcome: null, drawn: true, settle: null } as const;

async function drawElsewhere(
  tasks: readonly IssuedTask[],
  workers: GroupWorkers,
  { spent }: RolloutParts,
  options: RolloutOptions,
  signal: AbortSignal,
): Promise<RolloutJob[]> {
  const { groupSize, sampling, sampleTimeoutMs, rewardTimeoutMs } = options;
  const groups = await Promise.all(
    tasks.map(async (issued): Promise<RolloutJob[]> => {
      const seeds = rolloutSeeds(options.seed, issued, groupSize);
      const asked = { ...named(issued), seeds, sampling, policy: options.policy() };
      const drawn = await workers.draw({ ...asked, sampleTimeoutMs, rewardTimeoutMs }, { signal });
      if (drawn.kind === "lost") return lostGroup(issued, seeds, drawn.reason);
      const { sequences, outcomes, seconds } = drawn.result;
      spent?.("sample", seconds.sample);
      spent?.("reward", seconds.reward);
      return wholeGroup(sequences, 0, groupSize).map((sequence, g) => ({
        issued,
        rollout: rolloutOf(asked, g, sequence, { seed: seeds[g] ?? 0, decode: options.decode }),
        outcome: checkedOutcome(outcomes[g]),
        drawn: true,
        settle: g === groupSize - 1 ? drawn.settle : null,
      }));
    }),
  );
  return groups.flat();
}

const NO_TOKENS: SampledSequence = { tokenIds: [], logprobs: [], entropies: null, finish: "aborted", spans: [] };

/** A group that nobody drew: its rollouts are empty and failed, so that it is dropped where others are judged (I1). */
function lostGroup(issued: IssuedTask, seeds: readonly number[], reason: string): RolloutJob[] {
  const outcome: RewardOutcome = { kind: "failed", code: "WEIR_E_WORK_QUEUE", reason };
  return seeds.map((seed, g) => ({
    issued,
    rollout: rolloutOf(named(issued), g, NO_TOKENS, { seed, decode: () => "" }),
    outcome,
    drawn: false,
    settle: null,
  }));
}

function wholeGroup(
  sequences: readonly SampledSequence[] | undefined,
  p: number,
  groupSize: number,
): readonly SampledSequence[] {
  if (sequences?.length === groupSize) return sequences;
  throw new WeirError(
    "WEIR_E_ENGINE_REQUEST",
    `the sampler must return ${groupSize} sequences for prompt ${p}, got ${sequences?.length ?? 0}`,
    { prompt: p },
  );
}

/** A drawn sequence as a rollout of its group. */
export function rolloutOf(
  { groupId, task, promptIds }: Pick<GroupTask, "groupId" | "task" | "promptIds">,
  g: number,
  sequence: SampledSequence,
  { seed, decode }: { readonly seed: number; readonly decode: RolloutOptions["decode"] },
): Rollout {
  return {
    id: memberId(groupId, g),
    taskId: task.id,
    groupId,
    sampleIndex: g,
    promptIds,
    tokenIds: sequence.tokenIds,
    samplerLogprobs: sequence.logprobs,
    entropies: sequence.entropies,
    finish: sequence.finish,
    policy: sequence.spans,
    seed,
    text: decode(sequence.tokenIds),
  };
}

async function scoreJob(
  { issued, rollout, outcome: known }: RolloutJob,
  { parts, spent, time, gate }: RolloutParts,
  options: RolloutOptions,
  signal: AbortSignal,
): Promise<ScoredJob[]> {
  if (known !== null) return [scoredJob(issued, rollout, known, options)];
  const scoring = {
    ...{ reward: () => parts().reward, timeoutMs: options.rewardTimeoutMs, time, gate },
    spent: (seconds: number) => spent?.("reward", seconds),
  };
  const outcome = await scoreRollout({ task: issued.task, rollout }, scoring, signal);
  return [scoredJob(issued, rollout, outcome, options)];
}

function scoredJob(
  issued: IssuedTask,
  rollout: Rollout,
  outcome: RewardOutcome,
  { shape }: Pick<RolloutOptions, "shape">,
): ScoredJob {
  const shaped = outcome.kind === "scored" ? shape(outcome.value, rollout.tokenIds.length) : null;
  return { issued, member: { rollout, outcome, reward: shaped } };
}

interface GatheredGroup {
  readonly issued: IssuedTask;
  /** By index; what has not come yet is missing. [G] */
  readonly members: (ScoredRollout | undefined)[];
}

interface GatheredRound {
  readonly groups: Map<number, GatheredGroup>;
  /** Members that have come. */
  count: number;
}

/** Collects the members of groups, and the groups of a round, until the round is whole. */
export class RoundAssembly {
  private readonly rounds = new Map<number, GatheredRound>();

  constructor(private readonly groupSize: number) {}

  /** The groups of the round in issue order once the last member has come. Errors: WEIR_E_STATE for a member that came before (I2). */
  add(issued: IssuedTask, member: ScoredRollout): (readonly Group[])[] {
    const { id, size } = issued.round;
    const round = this.rounds.get(id) ?? { groups: new Map<number, GatheredGroup>(), count: 0 };
    this.rounds.set(id, round);
    const gathered = round.groups.get(issued.sequence) ?? { issued, members: [] };
    round.groups.set(issued.sequence, gathered);
    const { sampleIndex } = member.rollout;
    const doubled = gathered.members[sampleIndex] !== undefined;
    if (doubled || sampleIndex < 0 || sampleIndex >= this.groupSize)
      throw new WeirError(
        "WEIR_E_STATE",
        `group ${groupIdOf(issued)} must hold the samples 0..${this.groupSize - 1} once each, got ${sampleIndex}${doubled ? " twice" : ""}`,
        { sampleIndex },
      );
    gathered.members[sampleIndex] = member;
    round.count++;
    if (round.count < size * this.groupSize) return [];
    this.rounds.delete(id);
    return [[...round.groups.values()].sort((a, b) => a.issued.sequence - b.issued.sequence).map(groupOf)];
  }
}

function groupOf({ issued, members }: GatheredGroup): Group {
  const { task, phase, visit, carried, sequence } = issued;
  // All of them have come.
  const whole = members as readonly ScoredRollout[];
  return { id: groupIdOf(issued), task, phase, visit, carried, sequence, members: whole };
}

/**
 * Runs one round of given tasks by itself, to its end, and returns its groups in issue order.
 * Errors: whatever the sampler rejects with; the abort reason when `signal` aborts. On either, what is in flight is told to end.
 */
export async function runRound(
  tasks: readonly Omit<IssuedTask, "round">[],
  parts: RolloutParts & { readonly gauges: GaugeBoard },
  options: RolloutOptions & { readonly promptsPerCall: number },
  signal: AbortSignal,
): Promise<readonly Group[]> {
  signal.throwIfAborted();
  const issued = tasks.map((task) => ({ ...task, round: { id: 0, size: tasks.length } }));
  let at = 0;
  const next = async () => {
    const call = issued.slice(at, at + options.promptsPerCall);
    at += options.promptsPerCall;
    return call.length === 0 ? END : call;
  };
  const groups: Group[] = [];
  const flow = pipe(
    rolloutStages(parts, options),
    stage<readonly Group[], never>({
      name: "round",
      bound: 1,
      workers: 1,
      handle: (round) => {
        groups.push(...round);
        return [];
      },
    }),
  )(source({ name: "tasks", next }));
  for (const { mailbox } of flow.stages) if (mailbox !== null) parts.gauges.watch(mailbox as BoundedQueue<unknown>);
  await runStages(flow, signal);
  return groups;
}

/** Runs stages without a supervisor. Errors: what made a stage fail; the reason of `signal`. */
export async function runStages({ stages }: Flow<unknown>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const running = merge(...stages.map((one) => one.running));
  try {
    await lastValueFrom(running.pipe(takeUntil(fromEvent(signal, "abort"))), { defaultValue: undefined });
  } catch (error) {
    throw error instanceof StageFailure ? error.cause : error;
  } finally {
    await Promise.all(stages.map((one) => one.settled()));
  }
  signal.throwIfAborted();
}
