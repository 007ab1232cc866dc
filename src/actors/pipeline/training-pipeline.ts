import type { AnyActorRef } from "xstate";
import { leastScored } from "../../algorithms/dynamic-sampling.js";
import type { Config } from "../../config/schema.js";
import { ACTOR_STATES, type ActorState, type ActorStatus } from "../../contracts/actor-status.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { PolicyWanted } from "../../contracts/sampler.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import type { AdmissionState } from "../../streams/admission.js";
import {
  BatchFormer,
  type DroppedGroup,
  type FormedBatch,
  type JudgedRound,
  mayScoreNextTime,
  TOO_SMALL,
} from "../../streams/batch-former.js";
import { filterGroup, withAdvantages } from "../../streams/batches.js";
import { BoundedQueue, type END } from "../../streams/bounded-queue.js";
import type { GaugeBoard } from "../../streams/gauges.js";
import { GroupBook } from "../../streams/group-book.js";
import type { GroupWorkers } from "../../streams/group-workers.js";
import { unshapedRewards } from "../../streams/groups.js";
import { InFlight, STOP_GRACE_MS } from "../../streams/in-flight.js";
import { lagsOf, tokensByLag } from "../../streams/lag.js";
import { ReadyGate } from "../../streams/ready-gate.js";
import type { IssuedTask, RolloutOptions } from "../../streams/rollout-stages.js";
import type { SupervisedStage } from "../../streams/stage.js";
import type { Time } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";
import type { RunParts } from "../parts/part-kinds.js";
import { artifactKind, type PolicyPublisher } from "../update/publisher.js";
import type { UpdateResult } from "../update/update.js";
import { FRESH_MARKS, type IssueMarks, Issuer, type SkippedVisit, type Visit } from "./issuer.js";
import type { PipelineInput } from "./pipeline-machine.js";
import {
  type BatchInput,
  type FormedStep,
  type SampledStep,
  type TrainedStep,
  trainingStages,
} from "./pipeline-stages.js";
import { type AppendEntry, RunLedger } from "./run-ledger.js";
import type { StageChange } from "./stage-machine.js";
import { StepTime } from "./step-time.js";

/**
 * The pipeline of a run, from the first RL step to the last:
 *
 *   tasks ▸ rollout ▸ reward ▸ group ▸ filter ▸ batch ▸ advantage ▸ update ▸ publish
 *
 * An RL step asks for one batch and waits until it has been trained on and published. With `async.maxLag` 0 nothing is issued but for
 * the step that waits, so that the stages work one after another; above it, admission lets tasks in while an update, an evaluation or
 * a checkpoint is under way.
 * Invariants: a group is in the book from its issue to its end (I4); a batch holds no token older than `async.maxLag` versions (I13);
 * rounds and batches are in the order of issue where `async.maxLag` is 0 (I11); every issued rollout ends once (I2).
 */

/** What the pipeline needs of the run. */
export interface PipelineHost {
  /** Read anew for each decision: knobs may be turned between two steps. */
  readonly config: Config;
  readonly time: Time;
  readonly tasks: ReadonlyMap<string, Pick<IssuedTask, "task" | "promptIds">>;
  /** The parts in use now. */
  readonly parts: () => RunParts;
  /** Draw and score the groups of training; null or left out where the run's own sampler and reward do. */
  readonly workers?: GroupWorkers | null;
  readonly policies: PolicyPublisher;
  readonly gauges: GaugeBoard;
  readonly ledger: AppendEntry;
  /** Present phase. */
  readonly phase: () => number;
  /** RL steps of the present phase that are still to come, the one under way included. */
  readonly stepsLeft: () => number;
  /** RL step that is under way or next. */
  readonly step: () => number;
  readonly rollout: () => Omit<RolloutOptions, "policy">;
  /** Trains on a batch; `kept` are its groups with advantages. */
  readonly update: (
    kept: readonly SampleGroup[],
    batch: FormedBatch,
    policy: PolicyVersion,
    signal: AbortSignal,
  ) => Promise<UpdateResult>;
  /** A stage was restarted, runs again, or was given up. */
  readonly changed: (change: StageChange) => void;
}

/** A group that a checkpoint finds open, or that waits to be issued again. */
interface PendingGroup extends Omit<Visit, "task" | "promptIds"> {
  readonly taskId: string;
  /** Where its rollouts have no end state in the ledger yet: what they were issued as. */
  readonly open: { readonly step: number; readonly sequence: number; readonly policyVersion: number } | null;
}

interface PipelineSnapshot {
  /** Order-of-issue counter at the checkpoint: groups may have been issued since the last step ended. */
  readonly sequence: number;
  readonly pending: readonly PendingGroup[];
  /** Checkpoints of earlier builds have none. */
  readonly marks?: IssueMarks;
}

interface Waiting {
  resolve(trained: TrainedStep): void;
  reject(error: unknown): void;
}

const NO_WORK: { readonly handled: number; readonly dropped: number } = { handled: 0, dropped: 0 };

export class TrainingPipeline {
  /** Of the supervisor of the stages, which the run's own machine spawns. */
  readonly input: PipelineInput;
  private ref: AnyActorRef | null = null;
  /** Open while the reward takes work. */
  readonly gate: ReadyGate;
  private readonly ledger: RunLedger;
  private book = new GroupBook();
  private former: BatchFormer;
  private issuer: Issuer;
  private stages: readonly SupervisedStage[] = [];
  private asks: BoundedQueue<BatchInput> | null = null;
  /** Holds one token: whoever has it may use weights that sampler and trainer share. */
  private turn = new BoundedQueue<true>("turn", 1);
  private running = false;
  /** It has run at some time. */
  private begun = false;
  /** Work of stages that have been replaced. */
  private readonly past = new Map<string, typeof NO_WORK>();
  private held = false;
  private quiet = false;
  private waiting: Waiting | null = null;
  private failure: { readonly error: unknown } | null = null;
  /** A batch has been made, and its weights are not published yet. */
  private updating = false;
  /** RL step whose batch was made last. */
  private formedStep = 0;
  /** Time of the last adoption; null once it was told. */
  private adoptSeconds: number | null = null;
  /** Restarts of each stage in the whole run. */
  private readonly restarts = new Map<string, number>();
  private wakers = new Set<() => void>();
  /** Ends adoptions that are under way. */
  private adoption = new AbortController();
  private readonly adopting = new InFlight();
  private readonly rolloutTime = new StepTime();

  constructor(private readonly host: PipelineHost) {
    const { maxRestarts, restartDelayMs } = host.config.stages;
    this.input = {
      maxRestarts,
      restartDelayMs,
      attached: (ref) => {
        this.ref = ref;
      },
      changed: (change) => {
        const { stage, state } = change;
        if (state === "restarting") this.restarts.set(stage, (this.restarts.get(stage) ?? 0) + 1);
        host.changed(change);
      },
      failed: (error) => this.failed(error),
    };
    this.gate = new ReadyGate({ readiness: () => host.parts().reward.readiness, time: host.time });
    this.ledger = new RunLedger(host.ledger);
    this.former = this.newFormer();
    this.issuer = this.newIssuer(0, [], FRESH_MARKS);
  }

  /** Order-of-issue counter. */
  get sequence(): number {
    return this.issuer.sequence;
  }

  /** Groups that are being sampled, scored or judged. */
  get inFlight(): number {
    return this.book.count("inFlight");
  }

  /**
   * Asks for the batch of the next RL step; resolves once it has been trained on and its weights are published.
   * Errors: what made a stage fail, or the reason of `signal`, after everything in flight was cancelled and dropped as `aborted`;
   * WEIR_E_ROLLBACK, after it was cancelled: `undo` is what follows.
   */
  async step(signal: AbortSignal): Promise<TrainedStep> {
    signal.throwIfAborted();
    let onAbort: () => void = () => undefined;
    try {
      if (this.failure) throw this.failure.error;
      this.start();
      return await new Promise<TrainedStep>((resolve, reject) => {
        this.waiting = { resolve, reject };
        onAbort = () => reject(signal.reason as Error);
        signal.addEventListener("abort", onAbort, { once: true });
        this.asks?.push("asked", { signal }).then(() => this.wake(), reject);
      });
    } catch (error) {
      this.waiting = null;
      // What is open then ends when the run goes back.
      if (isRollback(error)) await this.stopStages();
      else await this.halt("aborted");
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.waiting = null;
      this.host.gauges.publish();
    }
  }

  /** A stage was given up: nothing more comes of what is in it. */
  get isBroken(): boolean {
    return this.failure !== null;
  }

  /** Lets no more tasks in. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    this.wake();
  }

  /** Does `work` while nothing is being sampled, scored or judged, and lets nothing in meanwhile. Errors: the reason of the signal. */
  async quietly(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    this.quiet = true;
    try {
      while (this.running && this.inFlight > 0 && this.failure === null) await this.change(signal);
      signal.throwIfAborted();
      await work();
    } finally {
      this.quiet = false;
      this.wake();
    }
  }

  /** The run has entered a phase: groups of another one are dropped, those in flight when they come. */
  enterPhase(phase: number): void {
    this.issuer.keepPhase(phase);
    this.endDropped(this.former.enterPhase(phase));
  }

  /** Cancels what is in work and waits for it; every open rollout is dropped with the reason. */
  async halt(reason: string): Promise<void> {
    await this.stopStages();
    this.ledger.abort(reason);
    this.reset(this.issuer.sequence, []);
  }

  /** The same, but the tasks that are lost by it are issued again when the run goes on. */
  async park(): Promise<void> {
    await this.stopStages();
    // What ended while the stages came to rest is not lost.
    const lost = this.book.all();
    this.ledger.abort("aborted");
    this.reset(this.issuer.sequence, [...lost.map(nextAttempt), ...this.issuer.waiting]);
  }

  /**
   * Has what is in flight, and what waits for an update, drawn again under the options as they are now; between two steps. Errors: the
   * reason of the signal.
   */
  async renew(signal: AbortSignal): Promise<void> {
    // A sampler in the middle of loading weights is left alone.
    await this.adopting.idle();
    signal.throwIfAborted();
    await this.park();
  }

  /** What a checkpoint has to know to issue lost tasks again. */
  snapshot(): Json {
    this.issuer.keepPhase(this.host.phase());
    const open = this.book.all().map((issued): PendingGroup => {
      const { step, sequence } = issued;
      return { ...pendingOf(issued), open: { step, sequence, policyVersion: this.ledger.versionOf(issued) } };
    });
    const again = this.issuer.waiting.map((visit): PendingGroup => ({ ...pendingOf(visit), open: null }));
    const { sequence, marks } = this.issuer;
    const snapshot: PipelineSnapshot = { sequence, pending: [...open, ...again], marks };
    return snapshot as unknown as Json;
  }

  /**
   * Begins anew from a checkpoint's snapshot, after `halt`: what was open then is lost, its rollouts end as `aborted`, and its tasks are
   * issued again where their phase goes on. `null`: from the beginning, or from a checkpoint that knows of nothing.
   */
  restore(snapshot: Json | null, sequence: number): void {
    const { pending, marks, ...known } = (snapshot ?? { sequence, pending: [] }) as unknown as PipelineSnapshot;
    const { groupSize } = this.host.config.rollout;
    const visits: Visit[] = [];
    for (const { open, visit } of this.visitsOf(pending)) {
      if (open !== null)
        this.ledger.lose({ ...visit, ...open, round: { id: 0, size: 1 } }, groupSize, open.policyVersion);
      visits.push(open === null ? visit : nextAttempt(visit));
    }
    this.reset(known.sequence, visits, marks ?? FRESH_MARKS);
  }

  /** The groups of the batch that is being trained on. */
  get training(): readonly SkippedVisit[] {
    return this.book.at("training").map(({ task, phase, visit }) => ({ phase, taskId: task.id, visit }));
  }

  /** Cancels what is in work and waits for it; every open rollout ends as `rolledBack`. */
  async undo(): Promise<void> {
    await this.stopStages();
    this.ledger.undo();
    this.reset(this.issuer.sequence, []);
  }

  /**
   * Goes on from a snapshot that the run has gone back to, after `undo`: the order of issue goes on, and whatever is issued is another
   * attempt than any before. Picks of `skip` are passed over.
   */
  goBack(snapshot: Json, skip: readonly SkippedVisit[]): void {
    const { pending } = snapshot as unknown as PipelineSnapshot;
    const { attemptFloor, highestAttempt, skip: earlier } = this.issuer.marks;
    const floor = Math.max(attemptFloor, highestAttempt + 1);
    const visits = this.visitsOf(pending).map(({ visit }) => ({ ...visit, attempt: floor }));
    const marks = { attemptFloor: floor, highestAttempt, skip: [...earlier, ...skip] };
    this.reset(this.issuer.sequence, visits, marks);
  }

  private visitsOf(pending: readonly PendingGroup[]) {
    return pending.flatMap(({ taskId, open, ...rest }) => {
      const task = this.host.tasks.get(taskId);
      return task ? [{ open, visit: { ...rest, ...task } as Visit }] : [];
    });
  }

  /** Forgets what is open without a word: the ledger was rolled back. */
  async forget(): Promise<void> {
    await this.stopStages();
    this.ledger.forget();
    this.reset(0, [], FRESH_MARKS);
  }

  /** The stages as nodes of the supervision tree, as they are now. */
  actors(): readonly ActorStatus[] {
    this.observe();
    const { policies } = this.host;
    const versions: Readonly<Record<string, number>> = { rollout: policies.sampledVersion, update: policies.version.n };
    return this.stages.map((one): ActorStatus => {
      const { name, workers, busy, handled, dropped, queue } = one.status();
      const snapshot = this.actorOf(name)?.getSnapshot() as
        | { readonly value: unknown; readonly context: { readonly error: unknown } }
        | undefined;
      const { error = null } = snapshot?.context ?? {};
      const state = stateOf(snapshot?.value) ?? (this.begun ? "stopped" : "starting");
      const before = this.past.get(name) ?? NO_WORK;
      const told = (state === "restarting" || state === "failed") && error !== null;
      return {
        ...{ name, parent: "run", state, workers, busy, queue },
        restarts: this.restarts.get(name) ?? 0,
        handled: before.handled + handled,
        dropped: before.dropped + dropped,
        policyVersion: versions[name] ?? null,
        detail: told ? messageOf(error) : null,
      };
    });
  }

  /** Tells the stages' machines what their workers wait for. */
  private observe(): void {
    for (const one of this.stages) this.actorOf(one.name)?.send({ type: "OBSERVED", status: one.status() });
  }

  private actorOf(name: string): AnyActorRef | undefined {
    return (this.ref?.getSnapshot().children as Readonly<Record<string, AnyActorRef | undefined>> | undefined)?.[name];
  }

  private start(): void {
    if (this.running) return;
    if (this.ref === null)
      throw new WeirError("WEIR_E_STATE", "the pipeline has no supervisor; start the run's machine first");
    if (this.stages.length === 0) this.reset(this.issuer.sequence, this.issuer.waiting);
    // Tasks that were lost in a phase that has ended since are not issued again.
    this.issuer.keepPhase(this.host.phase());
    this.running = true;
    this.begun = true;
    this.ref.send({ type: "START", stages: this.stages });
  }

  private async stopStages(): Promise<void> {
    this.running = false;
    if (this.ref?.getSnapshot().status === "active") this.ref.send({ type: "HALT" });
    this.adoption.abort();
    this.gate.rest();
    this.wake();
    const ending = new InFlight(this.host.time);
    for (const one of this.stages) void ending.track(one.settled());
    void ending.track(this.adopting.idle());
    const { workers } = this.host;
    if (workers) void ending.track(workers.abandon());
    // What ignores its signal for longer is left behind, and changes nothing of the pipeline any more.
    await ending.settled(STOP_GRACE_MS);
  }

  private failed(error: unknown): void {
    this.failure = { error };
    this.waiting?.reject(error);
    this.wake();
  }

  private reset(sequence: number, visits: readonly Visit[], marks = this.issuer.marks): void {
    const { gauges, config, workers } = this.host;
    this.keepCounts();
    this.book = new GroupBook();
    this.former = this.newFormer();
    this.issuer = this.newIssuer(sequence, visits, marks);
    this.turn = new BoundedQueue<true>("turn", 1);
    void this.turn.push(true);
    this.adoption.abort();
    this.adoption = new AbortController();
    this.failure = null;
    this.updating = false;
    this.formedStep = 0;
    this.rolloutTime.take();
    const { stages } = trainingStages(
      {
        parts: {
          parts: this.host.parts,
          ...(workers ? { workers } : {}),
          listener: this.ledger,
          time: this.host.time,
          gate: this.gate,
          spent: (what, seconds) => this.rolloutTime.spent(what, seconds, this.host.time.now()),
          ...(config.async.maxLag > 0 ? { exclusively: (work, signal) => this.inTurn(work, signal) } : {}),
        },
        options: { ...this.host.rollout(), policy: () => this.policyWanted() },
      },
      {
        nextCall: (signal) => this.nextCall(signal),
        judge: (groups, signal) => this.judge(groups, signal),
        form: (input) => this.form(input),
        advantages: async (formed, signal) => ({
          ...formed,
          kept: await withAdvantages(formed.batch.kept, this.host.parts().advantage, signal),
        }),
        train: (sampled, signal) => this.train(sampled, signal),
        publish: (trained, signal) => this.publish(trained, signal),
      },
    );
    this.stages = stages;
    this.asks = (stages.find(({ name }) => name === "batch")?.mailbox ?? null) as BoundedQueue<BatchInput> | null;
    for (const { mailbox } of stages) if (mailbox !== null) gauges.watch(mailbox);
  }

  /** New stages count from 0; the run's counts go on. */
  private keepCounts(): void {
    for (const one of this.stages) {
      const { name, handled, dropped } = one.status();
      const before = this.past.get(name) ?? NO_WORK;
      this.past.set(name, { handled: before.handled + handled, dropped: before.dropped + dropped });
    }
  }

  private newFormer(): BatchFormer {
    const { host } = this;
    const { oversample, maxRounds, onExhausted } = host.config.dynamicSampling;
    return new BatchFormer({
      ...{ oversample, maxRounds, onExhausted, wanted: host.config.rollout.promptsPerStep },
      get maxLag() {
        return host.config.async.maxLag;
      },
    });
  }

  private newIssuer(sequence: number, visits: readonly Visit[], marks: IssueMarks): Issuer {
    const { config, parts, tasks, phase, step, policies, workers } = this.host;
    const { groupSize } = config.rollout;
    // Each group goes to a worker by itself.
    const promptsPerCall = workers ? 1 : config.rollout.promptsPerCall;
    const host = {
      admission: () => this.admission(),
      next: () => ({ ...parts().curriculum.next(phase()), phase: phase() }),
      task: (id: string) => tasks.get(id) as Pick<IssuedTask, "task" | "promptIds">,
      step,
      issued: (task: IssuedTask) => {
        this.book.issue(task);
        this.ledger.issue(task, groupSize, policies.sampledVersion);
      },
    };
    return new Issuer(host, { promptsPerCall, wholeRounds: config.async.maxLag === 0 }, { sequence, visits, marks });
  }

  private admission(): AdmissionState | null {
    if (this.held || this.quiet || !this.running || this.failure !== null || !this.gate.isOpen) return null;
    const { config, policies, stepsLeft, step } = this.host;
    // The step counts as under way until all that follows from it has been written.
    const formed = this.formedStep === step() ? 1 : 0;
    return {
      perStep: config.rollout.promptsPerStep,
      maxLag: config.async.maxLag,
      nextVersion: policies.version.n + (this.updating ? 1 : 0),
      samplerVersion: policies.sampledVersion,
      inFlight: this.inFlight,
      ready: this.book.count("ready"),
      stepsLeft: stepsLeft() - formed,
      stepWaits: this.waiting !== null && !this.updating,
      oversample: config.dynamicSampling.oversample,
    };
  }

  private async nextCall(signal: AbortSignal): Promise<readonly IssuedTask[] | typeof END> {
    for (;;) {
      const call = this.issuer.call();
      if (call !== null) return call;
      // While the reward takes no work, nothing else lets a task in.
      await (this.gate.isOpen ? this.change(signal) : this.gate.opened(signal));
    }
  }

  private policyWanted(): PolicyWanted {
    const { policies, config } = this.host;
    if (config.async.maxLag === 0) return { exactly: policies.version.n };
    return { atLeast: policies.sampledVersion };
  }

  private async judge(groups: readonly Group[], signal: AbortSignal): Promise<JudgedRound> {
    const { parts, config } = this.host;
    const { filter, curriculum } = parts();
    const { minScoredShare } = config.dynamicSampling;
    const { minGroupSize } = parts().advantage;
    const viable = groups.filter(
      (group) => unshapedRewards(group).length >= leastScored(group.members.length, minScoredShare, minGroupSize),
    );
    const verdicts = await filter.filter(viable.map(filterGroup), { signal });
    signal.throwIfAborted();
    // The scored members of the others are no fair sample: a judge that is away leaves those that the rule alone could score.
    for (const group of viable)
      curriculum.observe({ taskId: group.task.id, phase: group.phase, rewards: unshapedRewards(group) });
    const reasons = new Map<Group, string | null>(viable.map((group, p) => [group, verdicts[p] ?? null]));
    const small = groups.filter((group) => !reasons.has(group)).map((group) => ({ group, reason: TOO_SMALL }));
    const dropped = viable.flatMap((group) => {
      const reason = reasons.get(group);
      return typeof reason === "string" ? [{ group, reason }] : [];
    });
    return { kept: viable.filter((group) => reasons.get(group) === null), dropped: [...small, ...dropped] };
  }

  private form(input: BatchInput): readonly FormedStep[] {
    if (input !== "asked") this.take(input.round);
    try {
      if (this.waiting === null || this.updating) return [];
      const policy = this.host.policies.version;
      this.endDropped(this.former.dropStale(policy.n));
      const batch = this.former.form();
      if (batch === null) return [];
      this.updating = true;
      this.formedStep = this.host.step();
      for (const { group } of batch.dropped) this.book.end(group.id);
      for (const { id } of batch.kept) this.book.move(id, "training");
      return [{ batch, policy }];
    } catch (error) {
      // Nothing is issued any more, before the supervisor hears of it.
      this.failure = { error };
      throw error;
    } finally {
      this.wake();
      this.host.gauges.publish();
    }
  }

  private take({ kept, dropped }: JudgedRound): void {
    const phase = this.host.phase();
    const late = kept.filter((group) => group.phase !== phase).map((group) => ({ group, reason: "phase_ended" }));
    const stay = kept.filter((group) => group.phase === phase);
    this.former.take({ kept: stay, dropped: [...dropped, ...late] }, phase);
    for (const { id } of stay) this.book.move(id, "ready");
    this.endDropped([...dropped, ...late]);
  }

  /** Groups that go no further. Those that became stale, or were not viable, are issued again, if not too often. */
  private endDropped(dropped: readonly DroppedGroup[]): void {
    const { async: asynchronous } = this.host.config;
    for (const one of dropped) {
      const issued = this.book.end(one.group.id);
      // What is open was first issued at the present floor.
      const tries = (issued?.attempt ?? 0) + 1 - this.issuer.marks.attemptFloor;
      if (issued !== null && tries < this.attemptsOf(one)) this.issuer.repeat(nextAttempt(issued));
    }
    // Without overlap the ledger tells of a step's groups together, when the step has been trained.
    if (asynchronous.maxLag > 0) this.ledger.drop(dropped);
  }

  /** How often a group that is dropped for this reason may be issued in all. */
  private attemptsOf({ group, reason }: DroppedGroup): number {
    const { async: asynchronous, dynamicSampling } = this.host.config;
    if (reason === "stale") return asynchronous.maxAttempts;
    if (reason !== TOO_SMALL || dynamicSampling.unviable === "drop") return 0;
    return mayScoreNextTime(group) ? dynamicSampling.maxAttempts : 0;
  }

  private async train(sampled: SampledStep, signal: AbortSignal): Promise<TrainedStep> {
    const { host } = this;
    const { kept, policy, batch } = sampled;
    const { maxLag } = host.config.async;
    if (maxLag > 0 && this.sharesWeights()) await this.turn.pull({ signal });
    const started = host.time.now();
    const update = await host.update(kept, batch, policy, signal);
    if (update.updates.some((one) => one.applied)) host.policies.markChanged();
    signal.throwIfAborted();
    this.ledger.settle(kept, batch, update, { step: host.step(), policyVersion: policy.n });
    for (const { group } of kept) this.book.end(group.id);
    const rollouts = kept.flatMap(({ samples }) => samples.map(({ rollout }) => rollout));
    const lags = rollouts.map((rollout) => lagsOf(rollout, policy));
    const lag = { bound: maxLag, tokens: tokensByLag(lags, maxLag) };
    host.gauges.setLag(lag);
    return {
      ...sampled,
      update,
      lag,
      seconds: {
        ...this.rolloutTime.take(),
        train: (host.time.now() - started) / 1000,
        publish: 0,
        adopt: null,
      },
    };
  }

  private async publish(trained: TrainedStep, signal: AbortSignal): Promise<void> {
    const { policies, config, time } = this.host;
    const { maxLag } = config.async;
    const shared = this.sharesWeights();
    const started = time.now();
    await this.publishTrained(signal);
    const published = time.now();
    if (maxLag > 0 && !shared) this.adopt();
    else {
      // The sampler learns what it draws from before it draws again.
      await policies.current(signal);
      signal.throwIfAborted();
      this.adoptSeconds = (time.now() - published) / 1000;
    }
    if (maxLag > 0 && shared) void this.turn.push(true);
    const publish = (published - started) / 1000;
    const seconds = { ...trained.seconds, publish, adopt: this.adoptSeconds };
    this.adoptSeconds = null;
    const { waiting } = this;
    this.updating = false;
    this.waiting = null;
    waiting?.resolve({ ...trained, seconds });
    this.wake();
  }

  /**
   * Publishes the weights of the update. Where there is no room for them, an adoption under way may make some. Errors: WEIR_E_POLICY_STORE
   * where it does not: the run cannot wait for room with half a step done.
   */
  private async publishTrained(signal: AbortSignal): Promise<void> {
    const { policies } = this.host;
    const noRoom = (error: unknown) => WeirError.isInstance(error) && error.code === "WEIR_E_POLICY_BUDGET";
    try {
      await policies.publishNow(signal);
    } catch (error) {
      if (!noRoom(error)) throw error;
      await this.adopting.idle();
      signal.throwIfAborted();
      await policies.publishNow(signal).catch((cause) => {
        if (!noRoom(cause)) throw cause;
        throw new WeirError(
          "WEIR_E_POLICY_STORE",
          `the policy of an update could not be published: ${messageOf(cause)}; raise policyStore.maxGiB to at least three versions and resume the run from its last checkpoint`,
          {},
          { cause },
        );
      });
    }
    signal.throwIfAborted();
  }

  /** Has the sampler adopt the newest policy while training goes on. */
  private adopt(): void {
    const { signal } = this.adoption;
    const { policies, time } = this.host;
    const started = time.now();
    void this.adopting.track(
      policies
        .adoptLatest(signal)
        .then(({ released }) => {
          this.adoptSeconds = (time.now() - started) / 1000;
          this.wake();
          return released;
        })
        .catch((error) => {
          if (!signal.aborted) this.failed(error);
        }),
    );
  }

  private sharesWeights(): boolean {
    return artifactKind(this.host.parts()) === "handle";
  }

  private async inTurn<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (!this.sharesWeights()) return work();
    const { turn } = this;
    await turn.pull({ signal });
    try {
      return await work();
    } finally {
      void turn.push(true);
    }
  }

  private wake(): void {
    for (const waker of [...this.wakers]) waker();
  }

  /** Resolves when something that admission depends on has changed. Errors: the reason of the signal. */
  private change(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const end = (act: () => void) => {
        this.wakers.delete(waker);
        forget();
        act();
      };
      const waker = () => end(resolve);
      const forget = whenAborted(signal, () => end(() => reject(signal.reason as Error)));
      this.wakers.add(waker);
    });
  }
}

function nextAttempt({ task, promptIds, phase, visit, carried, attempt }: Visit): Visit {
  return { task, promptIds, phase, visit, carried, attempt: attempt + 1 };
}

function pendingOf({ task, phase, visit, carried, attempt }: Visit): Omit<PendingGroup, "open"> {
  return { taskId: task.id, phase, visit, carried, attempt };
}

const isRollback = (error: unknown) => WeirError.isInstance(error) && error.code === "WEIR_E_ROLLBACK";

/** The innermost state of a stage's machine; undefined where it has none. */
function stateOf(value: unknown): ActorState | undefined {
  const name = typeof value === "object" && value !== null ? Object.values(value)[0] : value;
  return ACTOR_STATES.find((state) => state === name);
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
