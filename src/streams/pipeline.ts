import { ignoreElements, lastValueFrom, merge, tap } from "rxjs";
import { counterKey } from "../algorithms/random.js";
import type { Group, ScoredRollout } from "../contracts/group.js";
import type { RewardActor } from "../contracts/reward.js";
import type { Rollout } from "../contracts/rollout.js";
import type { SampledSequence, Sampler, SamplingParams } from "../contracts/sampler.js";
import type { Task } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import type { Timers } from "../system/time.js";
import { BoundedQueue } from "./bounded-queue.js";
import { outcomeWithin } from "./deadline.js";
import type { GaugeBoard } from "./gauges.js";
import { runWorkers } from "./workers.js";

/**
 * The demand-driven pipeline of one generation round: issued tasks ▸ rollouts ▸ rewards ▸ groups.
 * Invariants: every queue is bounded and named; a slow reward stops the sampler (the `rollouts` queue is full), never
 * grows memory; groups are delivered in the order of issue, whatever order their rewards finish in (I11);
 * each issued rollout is reported generated and scored exactly once, or aborted (I2).
 */

/** A task as the curriculum issued it. */
export interface IssuedTask {
  readonly task: Task;
  readonly promptIds: readonly number[]; // [P]
  readonly phase: number;
  readonly step: number;
  readonly visit: number;
  readonly carried: boolean;
  /** Position in the run's order of issue. */
  readonly sequence: number;
}

/** What the pipeline tells its surroundings; the ledger listens. */
export interface PipelineListener {
  generated(rollout: Rollout, issued: IssuedTask): void;
  scored(member: ScoredRollout, issued: IssuedTask): void;
}

export interface PipelineOptions {
  readonly seed: number;
  readonly groupSize: number;
  readonly promptsPerCall: number;
  /** Bound of the queue between sampler and rewards, in groups. */
  readonly queueGroups: number;
  readonly rewardConcurrency: number;
  readonly rewardTimeoutMs: number;
  readonly sampling: SamplingParams;
  /** Version of the policy that is sampled from. */
  readonly policy: number;
  /** Sampler calls in work at the same time; 1 when left out. */
  readonly samplerCalls?: number;
  /** Deadline of one sampler call, ms. */
  readonly sampleTimeoutMs: number;
  /** r_final of Eq. 7 from an unshaped reward and a response length. */
  readonly shape: (reward: number, length: number) => number;
  /** Text of token ids, special tokens kept. */
  readonly decode: (ids: readonly number[]) => string;
  readonly timers?: Timers;
}

export interface PipelineParts {
  readonly sampler: Sampler;
  readonly reward: RewardActor;
  readonly gauges: GaugeBoard;
  readonly listener: PipelineListener;
}

/** The groups of a round with the time spent. */
export interface Round {
  readonly groups: readonly Group[];
  readonly sampleSeconds: number;
  readonly rewardSeconds: number;
}

/** Ids that name a group and its members; stable over resumes, unique within a run. */
export function groupIdOf(issued: Pick<IssuedTask, "step" | "sequence">): string {
  return `s${issued.step}-q${issued.sequence}`;
}

export function rolloutIdOf(issued: Pick<IssuedTask, "step" | "sequence">, sampleIndex: number): string {
  return `${groupIdOf(issued)}-g${sampleIndex}`;
}

/** Keys of a task's G sequences: (run seed, phase, task, visit, sample) and nothing else (I12). */
export function rolloutSeeds(
  seed: number,
  issued: Pick<IssuedTask, "phase" | "task" | "visit">,
  groupSize: number,
): number[] {
  return Array.from({ length: groupSize }, (_, g) =>
    counterKey(seed, "rollout", issued.phase, issued.task.id, issued.visit, g),
  );
}

interface RolloutJob {
  readonly issued: IssuedTask;
  readonly rollout: Rollout;
}

interface ScoredJob {
  readonly issued: IssuedTask;
  readonly member: ScoredRollout;
}

/**
 * Runs one round to its end and returns its groups in issue order.
 * Errors: whatever the sampler rejects with; the abort reason when `signal` aborts. On either, every queue is released and what
 * is in flight is told by its signal to end.
 */
export async function runRound(
  issuedTasks: readonly IssuedTask[],
  parts: PipelineParts,
  options: PipelineOptions,
  signal: AbortSignal,
): Promise<Round> {
  signal.throwIfAborted();
  const round = new RoundInWork(issuedTasks, parts, options);
  const onAbort = () => round.cancel(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await round.run();
  } catch (error) {
    round.cancel(error);
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    parts.gauges.publish();
  }
}

/** The queues and stages of one round. */
class RoundInWork {
  private readonly calls: BoundedQueue<readonly IssuedTask[]>;
  private readonly rollouts: BoundedQueue<RolloutJob>;
  private readonly scored: BoundedQueue<ScoredJob>;
  private readonly assembly: GroupAssembly;
  /** What is in flight ends with the round, also when the round fails while nobody cancels it. */
  private readonly own = new AbortController();
  private sampleSeconds = 0;
  private rewardSeconds = 0;

  constructor(
    private readonly issued: readonly IssuedTask[],
    private readonly parts: PipelineParts,
    private readonly options: PipelineOptions,
  ) {
    const { gauges } = parts;
    const bound = options.queueGroups * options.groupSize;
    this.calls = gauges.watch(new BoundedQueue("tasks", 1));
    this.rollouts = gauges.watch(new BoundedQueue("rollouts", bound));
    this.scored = gauges.watch(new BoundedQueue("scored", bound));
    this.assembly = new GroupAssembly(issued, options.groupSize);
  }

  async run(): Promise<Round> {
    const { calls, rollouts, scored } = this;
    await lastValueFrom(
      merge(
        this.feed(),
        runWorkers(calls, this.options.samplerCalls ?? 1, (tasks) => this.sample(tasks)).pipe(
          tap({ complete: () => rollouts.close() }),
        ),
        runWorkers(rollouts, this.options.rewardConcurrency, (job) => this.score(job)).pipe(
          tap({ complete: () => scored.close() }),
        ),
        runWorkers(scored, 1, (job) => this.assemble(job)),
      ).pipe(ignoreElements()),
      { defaultValue: undefined },
    );
    return { groups: this.assembly.finish(), sampleSeconds: this.sampleSeconds, rewardSeconds: this.rewardSeconds };
  }

  cancel(reason: unknown): void {
    this.own.abort(reason);
    for (const queue of [this.calls, this.rollouts, this.scored]) queue.fail(reason);
  }

  private async feed(): Promise<void> {
    const { promptsPerCall } = this.options;
    for (let start = 0; start < this.issued.length; start += promptsPerCall)
      await this.calls.push(this.issued.slice(start, start + promptsPerCall));
    this.calls.close();
  }

  private async sample(tasks: readonly IssuedTask[]): Promise<void> {
    const { options, parts } = this;
    const prompts = tasks.map((issued) => ({
      promptIds: issued.promptIds,
      seeds: rolloutSeeds(options.seed, issued, options.groupSize),
    }));
    const [first] = tasks;
    const reply = await parts.sampler.sample(
      {
        id: first === undefined ? "" : `${groupIdOf(first)}+${tasks.length}`,
        prompts,
        params: options.sampling,
        policy: { exactly: options.policy },
        purpose: "training",
        deadlineMs: options.sampleTimeoutMs,
      },
      { signal: this.own.signal },
    );
    this.sampleSeconds += reply.seconds;
    for (const [p, issued] of tasks.entries()) {
      const sequences = this.wholeGroup(reply.sequences[p], p);
      for (const [g, sequence] of sequences.entries())
        await this.deliver(issued, g, sequence, prompts[p]?.seeds[g] ?? 0);
    }
  }

  private wholeGroup(sequences: readonly SampledSequence[] | undefined, p: number): readonly SampledSequence[] {
    const { groupSize } = this.options;
    if (sequences?.length === groupSize) return sequences;
    throw new WeirError(
      "WEIR_E_ENGINE_REQUEST",
      `the sampler must return ${groupSize} sequences for prompt ${p}, got ${sequences?.length ?? 0}`,
      { prompt: p },
    );
  }

  private async deliver(issued: IssuedTask, g: number, sequence: SampledSequence, seed: number): Promise<void> {
    const rollout: Rollout = {
      id: rolloutIdOf(issued, g),
      taskId: issued.task.id,
      groupId: groupIdOf(issued),
      sampleIndex: g,
      promptIds: issued.promptIds,
      tokenIds: sequence.tokenIds,
      samplerLogprobs: sequence.logprobs,
      entropies: sequence.entropies,
      finish: sequence.finish,
      policy: sequence.spans,
      seed,
      text: this.options.decode(sequence.tokenIds),
    };
    this.parts.listener.generated(rollout, issued);
    await this.rollouts.push({ issued, rollout });
    this.parts.gauges.publish();
  }

  private async score({ issued, rollout }: RolloutJob): Promise<void> {
    const { options, parts } = this;
    const started = performance.now();
    const outcome = await outcomeWithin(
      (inner) => parts.reward.handle({ task: issued.task, rollout }, { signal: inner }),
      options.rewardTimeoutMs,
      this.own.signal,
      options.timers,
    );
    this.rewardSeconds += (performance.now() - started) / 1000;
    const reward = outcome.kind === "scored" ? options.shape(outcome.value, rollout.tokenIds.length) : null;
    const member: ScoredRollout = { rollout, outcome, reward };
    parts.listener.scored(member, issued);
    await this.scored.push({ issued, member });
  }

  private async assemble(job: ScoredJob): Promise<void> {
    this.assembly.add(job.issued, job.member);
    this.parts.gauges.publish();
  }
}

/** Collects the members of groups until each is whole; delivers them in issue order. */
export class GroupAssembly {
  private readonly members = new Map<number, ScoredRollout[]>();

  constructor(
    private readonly issued: readonly IssuedTask[],
    private readonly groupSize: number,
  ) {}

  add(issued: IssuedTask, member: ScoredRollout): void {
    const members = this.members.get(issued.sequence) ?? [];
    members.push(member);
    this.members.set(issued.sequence, members);
  }

  /** Errors: WEIR_E_STATE when a member is missing or doubled (I2). */
  finish(): Group[] {
    return this.issued.map((issued) => {
      const members = [...(this.members.get(issued.sequence) ?? [])].sort(
        (a, b) => a.rollout.sampleIndex - b.rollout.sampleIndex,
      );
      const whole = members.length === this.groupSize && members.every((member, g) => member.rollout.sampleIndex === g);
      if (!whole) {
        const found = members.map((member) => member.rollout.sampleIndex);
        throw new WeirError(
          "WEIR_E_STATE",
          `group ${groupIdOf(issued)} must hold the samples 0..${this.groupSize - 1} once each, holds ${JSON.stringify(found)}`,
          { found },
        );
      }
      const { task, phase, visit, carried, sequence } = issued;
      return { id: groupIdOf(issued), task, phase, visit, carried, sequence, members };
    });
  }
}
