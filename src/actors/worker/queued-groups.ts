/**
 * The run's side of its workers: hands groups to a work queue and takes their results from it.
 * Invariants: a group is in the queue at most once, and its result is taken once, however often it is delivered; nothing of an earlier
 * life of the run, or of groups that were given up, is taken; every error of the queue reaches all who wait for a group.
 */
import { randomUUID } from "node:crypto";
import type { ActorStatus } from "../../contracts/actor-status.js";
import type { GroupResult, GroupTask } from "../../contracts/group-work.js";
import type { SampleRequest } from "../../contracts/sampler.js";
import type { Json } from "../../contracts/task.js";
import type { DeadLetter, WorkQueue } from "../../contracts/work-queue.js";
import type { DrawnGroup, GroupWorkers } from "../../streams/group-workers.js";
import { InFlight, STOP_GRACE_MS } from "../../streams/in-flight.js";
import { pause } from "../../system/pause.js";
import type { Time } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";
import { replyFault } from "../parts/checked-engines.js";

export interface QueuedGroupsOptions {
  readonly queue: WorkQueue<GroupTask, GroupResult>;
  /** Groups that are with workers at once, at most. */
  readonly maxTasks: number;
  /** What workers have to know; announced before the first group. */
  readonly settings: () => Promise<Json>;
  readonly time: Time;
  /** A group was given up. */
  readonly onLost: (groupId: string, reason: string) => void;
  /** Groups have waited for a worker for a while, and none has taken one. */
  readonly onIdle: (waiting: number, seconds: number) => void;
}

interface Open {
  readonly task: GroupTask;
  /** The queue has it. */
  offered: boolean;
  ended: DrawnGroup | null;
  failure: { readonly error: unknown } | null;
  /** Whoever waits for it. */
  wake: () => void;
}

/** One wait for room in the queue, ms. */
const OFFER_MS = 30_000;
/** Between two looks at the queue while groups are open, ms: they also find out whether its server can be reached. */
const LOOK_MS = 10_000;
/** How long groups may wait without any worker before it is told, ms; workers take some time to start. */
const IDLE_MS = 60_000;

export class QueuedGroups implements GroupWorkers {
  private readonly open = new Map<string, Open>();
  /** Names this life of the queue's content: ids of an earlier one mean nothing. */
  private session = newSession();
  /** The queue may hold something that is not of this session. */
  private dirty = true;
  private announced = false;
  private reading: AbortController | null = null;
  private readonly readers: InFlight;
  private opening: Promise<void> | null = null;
  private handled = 0;
  private lost = 0;
  /** Groups that a worker took over from another one, or took again. */
  private redelivered = 0;

  constructor(private readonly options: QueuedGroupsOptions) {
    this.readers = new InFlight(options.time);
  }

  /** Connects, clears the queue and tells workers of the run. Errors: those of the queue. */
  prepare(signal: AbortSignal): Promise<void> {
    if (!this.dirty && this.announced) return Promise.resolve();
    this.opening ??= this.prepareNow(signal).finally(() => {
      this.opening = null;
    });
    return this.opening;
  }

  async draw(task: GroupTask, { signal }: { readonly signal: AbortSignal }): Promise<DrawnGroup> {
    await this.prepare(signal);
    signal.throwIfAborted();
    const id = `${this.session}.${task.groupId}`;
    const open = this.open.get(id) ?? { task, offered: false, ended: null, failure: null, wake: () => undefined };
    this.open.set(id, open);
    this.read();
    if (!open.offered) await this.offer(id, open, signal);
    while (open.ended === null) {
      if (open.failure !== null) {
        this.open.delete(id);
        throw open.failure.error;
      }
      await settledOr(open, signal);
    }
    this.open.delete(id);
    return open.ended;
  }

  async abandon(): Promise<void> {
    this.stopReading();
    const none = this.open.size === 0 && this.dirty;
    this.open.clear();
    this.session = newSession();
    this.dirty = true;
    if (none) return;
    // Without it workers would go on with what nobody waits for. What fails is done again before the next group.
    const late = AbortSignal.timeout(STOP_GRACE_MS);
    await this.readers.settled(STOP_GRACE_MS);
    await this.clear(late).catch(() => undefined);
  }

  /** Ends the work; the queue itself is a part of the run and is released with it. */
  async close(): Promise<void> {
    await this.abandon();
    const late = AbortSignal.timeout(STOP_GRACE_MS);
    if (this.announced) await this.options.queue.announce(null, { signal: late }).catch(() => undefined);
  }

  /** The workers as one node of the supervision tree; its restarts are groups that were delivered more than once. */
  statuses(): readonly ActorStatus[] {
    const busy = [...this.open.values()].filter(({ offered, ended }) => offered && ended === null).length;
    return [
      {
        ...{ name: "workers", parent: "rollout", state: busy > 0 ? "running" : "waitingForInput" },
        ...{ workers: this.options.maxTasks, busy, handled: this.handled, dropped: this.lost },
        ...{ restarts: this.redelivered, queue: null, policyVersion: null, detail: null },
      },
    ];
  }

  private async prepareNow(signal: AbortSignal): Promise<void> {
    const { queue, settings } = this.options;
    await queue.connect?.({ signal });
    if (this.dirty) await this.clear(signal);
    if (this.announced) return;
    await queue.announce(await settings(), { signal });
    this.announced = true;
  }

  private async clear(signal: AbortSignal): Promise<void> {
    await this.options.queue.clear({ signal });
    this.dirty = false;
  }

  private async offer(id: string, open: Open, signal: AbortSignal): Promise<void> {
    for (;;) {
      const answer = await this.options.queue.offer(open.task, { id, deadlineMs: OFFER_MS, signal });
      // A call before this one, which was aborted, may have offered it.
      open.offered = answer !== "full";
      if (open.offered) return;
    }
  }

  /** Lets the readers run, until `stopReading`. */
  private read(): void {
    if (this.reading !== null) return;
    const own = new AbortController();
    this.reading = own;
    const { signal } = own;
    const run = (reader: (signal: AbortSignal) => Promise<void>) =>
      void this.readers.track(
        reader(signal).catch((error: unknown) => {
          if (!signal.aborted) this.fail(error);
        }),
      );
    run((stop) => this.readResults(stop));
    run((stop) => this.readLetters(stop));
    run((stop) => this.look(stop));
  }

  private stopReading(): void {
    this.reading?.abort();
    this.reading = null;
  }

  /** Nothing more comes of the groups that are open, for this reason. */
  fail(error: unknown): void {
    this.stopReading();
    for (const open of this.open.values()) {
      open.failure = { error };
      open.wake();
    }
  }

  private async readResults(signal: AbortSignal): Promise<void> {
    for await (const { id, result, commit } of this.options.queue.results({ signal })) {
      const settle = () => void this.readers.track(commit().catch(() => undefined));
      const open = this.open.get(id);
      if (open === undefined || open.ended !== null) {
        settle();
        continue;
      }
      const fault = faultOf(result, open.task);
      if (fault !== null) settle();
      this.end(open, fault === null ? { kind: "drawn", result, settle } : { kind: "lost", reason: fault });
    }
  }

  private async readLetters(signal: AbortSignal): Promise<void> {
    for await (const letter of this.options.queue.dead({ signal })) {
      const open = this.open.get(letter.id);
      if (open !== undefined && open.ended === null) this.end(open, { kind: "lost", reason: wordsOf(letter) });
    }
  }

  private end(open: Open, ended: DrawnGroup): void {
    open.ended = ended;
    if (ended.kind === "drawn") {
      this.handled++;
      if (ended.result.attempt > 1) this.redelivered++;
    } else {
      this.lost++;
      this.options.onLost(open.task.groupId, ended.reason);
    }
    open.wake();
  }

  /** Finds out in time that the server is gone, and that no worker is there. */
  private async look(signal: AbortSignal): Promise<void> {
    const { queue, time, onIdle } = this.options;
    let since = time.now();
    let told = false;
    for (;;) {
      await pause(time, LOOK_MS, signal);
      if (this.open.size === 0) {
        since = time.now();
        continue;
      }
      const { ready, leased } = await queue.depth();
      if (leased > 0 || ready === 0) {
        since = time.now();
        told = false;
      } else if (!told && time.now() - since >= IDLE_MS) {
        told = true;
        onIdle(ready, Math.round((time.now() - since) / 1000));
      }
    }
  }
}

const newSession = () => randomUUID().slice(0, 8);

/** Resolves when the group has ended or failed. Errors: the reason of the signal. */
function settledOr(open: Open, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const forget = whenAborted(signal, () => reject(signal.reason as Error));
    open.wake = () => {
      forget();
      resolve();
    };
    if (signal.aborted) reject(signal.reason as Error);
  });
}

function wordsOf({ attempts, reason }: DeadLetter): string {
  return `given up after ${attempts} ${attempts === 1 ? "delivery" : "deliveries"}: ${reason}`;
}

/** What is wrong with a worker's result, or null: it has crossed a network. */
function faultOf(result: GroupResult, task: GroupTask): string | null {
  const { promptIds, seeds, sampling, policy, sampleTimeoutMs } = task;
  const asked: SampleRequest = {
    ...{ id: task.groupId, prompts: [{ promptIds, seeds }], params: sampling, policy, purpose: "training" },
    deadlineMs: sampleTimeoutMs,
  };
  const { worker, attempt, sequences, outcomes, seconds } = (result ?? {}) as Partial<GroupResult>;
  const fault = replyFault({ sequences: [sequences], seconds: seconds?.sample }, asked);
  if (fault !== null) return `the worker ${worker ?? "without a name"} ${fault}`;
  const counted = Number.isInteger(attempt) && Number.isFinite(seconds?.reward);
  if (!Array.isArray(outcomes) || outcomes.length !== seeds.length || !counted)
    return `the worker ${worker} gave no outcome for each of ${seeds.length} rollouts`;
  return null;
}
