/**
 * The work queue over NATS JetStream: tasks in a stream from which each is delivered to one worker at a time, results and dead letters
 * in streams that are read in order and from which a message is removed once it is done with.
 * Invariants: ready and leased tasks never exceed `bound`, uncommitted results never `resultBound`: the server refuses more; an id
 * ends once, since the server takes one result and one dead letter for it; a lease that expires gives its task back, also where its
 * worker was killed; a worker takes its lease for expired before the server does.
 */
import { AckPolicy, type Consumer, DiscardPolicy, type JsMsg, RetentionPolicy } from "@nats-io/jetstream";
import { headers, type MsgHdrs, nanos } from "@nats-io/transport-node";
import type { Json } from "../../contracts/task.js";
import type { DeadLetter, Lease, WorkQueue, WorkResult } from "../../contracts/work-queue.js";
import { WeirError } from "../../errors.js";
import { pause } from "../../system/pause.js";
import { realTime } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";
import { streamsOf } from "./names.js";
import { apiCode, endsPull, isFull, type NatsLine, type NatsServer, PullEnded } from "./nats-server.js";
import { discard, pack, unpack } from "./payload.js";
import { ensureStream, lastMessage, messagesOf, removeMessage, type StoredMessage } from "./streams.js";

export interface NatsWorkQueueLimits {
  /** Tasks that are ready or leased. */
  readonly bound: number;
  /** Results that wait for their reader. */
  readonly resultBound: number;
  /** How long a lease lasts, ms. */
  readonly leaseMs: number;
  /** Deliveries of a task before it becomes a dead letter. */
  readonly maxAttempts: number;
}

export interface NatsWorkQueueOptions {
  readonly server: NatsServer;
  /** Names the run; asked at the first call that needs it. */
  readonly run: () => string;
  /** Null takes those that the run announced, as a worker does. */
  readonly limits: NatsWorkQueueLimits | null;
}

/** What lies under the run's announcement. */
interface Announcement {
  readonly limits: NatsWorkQueueLimits | null;
  readonly record: Json;
}

const CONSUMER = "workers";
/** How long the server knows an id, ms: longer than any group is under way. */
const KNOWN_MS = 24 * 60 * 60_000;
/** Of one wait for a task at the server, ms; then the worker asks again. */
const TAKE_MS = 5_000;
/** For the tasks behind the first, which are there already, ms; the client takes no less. */
const MORE_MS = 1_000;
/** Between two tries to find room, ms. */
const ROOM_MS = [10, 20, 50, 100, 200] as const;
/** Part of a lease that the worker leaves unused, since the server's clock began earlier. */
const LEASE_MARGIN = 0.1;
/** A dead letter is one line. */
const DEAD_BOUND = 100_000;
/** For taking everything off the server at the end, ms: a server that is away keeps nobody. */
const REMOVE_MS = 5_000;
/** Results read ahead of the one in hand. */
const AHEAD = 4;
const TASK_SEQUENCE = "weir-task";
const MESSAGE_ID = "Nats-Msg-Id";

export function createNatsWorkQueue<Task, Result>(options: NatsWorkQueueOptions): NatsWorkQueue<Task, Result> {
  return new NatsWorkQueue(options);
}

export class NatsWorkQueue<Task, Result> implements WorkQueue<Task, Result> {
  readonly kind = "nats";
  readonly specificationVersion = 1;
  private readonly server: NatsServer;
  private ready: Promise<void> | null = null;
  private consumer: { readonly line: NatsLine; readonly consumer: Promise<Consumer> } | null = null;
  /** Results of tasks up to this number in their stream are of no use any more. */
  private cleared = 0;
  private known: NatsWorkQueueLimits | null;

  constructor(private readonly options: NatsWorkQueueOptions) {
    this.server = options.server;
    this.known = options.limits;
  }

  async connect({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.server.connect(signal);
  }

  async offer(
    task: Task,
    { id, deadlineMs, signal }: { readonly id: string; readonly deadlineMs: number; readonly signal: AbortSignal },
  ): Promise<"accepted" | "duplicate" | "full"> {
    const until = Date.now() + deadlineMs;
    for (let tries = 0; ; tries++) {
      const answer = await this.call("offer a task", signal, async (line) => {
        const { data, headers } = await pack(line, this.names.blobs, blobName("task", id), task);
        try {
          const { duplicate } = await line.stream.publish(this.names.tasks.subject, data, { msgID: id, headers });
          return duplicate ? "duplicate" : "accepted";
        } catch (error) {
          await discard(line, this.names.blobs, headers);
          if (isFull(error)) return "full";
          throw error;
        }
      });
      if (answer !== "full") return answer;
      const left = until - Date.now();
      if (left <= 0) return "full";
      await pause(realTime, Math.min(left, roomWait(tries)), signal);
    }
  }

  async take({ max, signal }: { readonly max: number; readonly signal: AbortSignal }): Promise<Lease<Task, Result>[]> {
    const leases: Lease<Task, Result>[] = [];
    try {
      while (!signal.aborted && leases.length === 0) {
        const first = await this.next(TAKE_MS, signal);
        for (let found = first; found !== null; ) {
          const { lease, more } = found;
          if (lease !== null) leases.push(lease);
          found = more && leases.length < max ? await this.next(MORE_MS, signal) : null;
        }
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (!signal.aborted) return leases;
    // Nobody waits for them any more.
    await Promise.all(leases.map((lease) => lease.retry(0).catch(() => undefined)));
    return [];
  }

  async *results({ signal }: { readonly signal: AbortSignal }): AsyncGenerator<WorkResult<Result>> {
    const { stream } = this.names.results;
    for await (const message of messagesOf(() => this.line(signal), stream, signal, { ahead: AHEAD })) {
      const id = message.headers?.get(MESSAGE_ID) ?? "";
      const commit = () =>
        this.call("commit a result", new AbortController().signal, async (line) => {
          await removeMessage(line, stream, message.seq);
          await discard(line, this.names.blobs, message.headers);
        });
      if (Number(message.headers?.get(TASK_SEQUENCE) ?? 0) <= this.cleared) {
        await commit();
        continue;
      }
      const result = await this.call("read a result", signal, (line) => unpack(line, this.names.blobs, message)).catch(
        (error) => {
          if (signal.aborted) return null;
          throw error;
        },
      );
      if (signal.aborted) return;
      yield { id, result: result as Result, commit };
    }
  }

  async *dead({ signal }: { readonly signal: AbortSignal }): AsyncGenerator<DeadLetter> {
    const { stream } = this.names.dead;
    for await (const message of messagesOf(() => this.line(signal), stream, signal, { ahead: AHEAD })) {
      const letter = JSON.parse(new TextDecoder().decode(message.data)) as DeadLetter;
      try {
        yield letter;
      } finally {
        // Also where its reader stops with it: it has it.
        await this.call("remove a dead letter", new AbortController().signal, (line) =>
          removeMessage(line, stream, message.seq),
        );
      }
    }
  }

  async depth(): Promise<{ readonly ready: number; readonly leased: number; readonly results: number }> {
    const { signal } = new AbortController();
    const { tasks, results } = this.names;
    return this.call("tell its depth", signal, async ({ manager }) => {
      const consumer = await manager.consumers.info(tasks.stream, CONSUMER);
      const [all, finished] = [await manager.streams.info(tasks.stream), await manager.streams.info(results.stream)];
      const leased = Math.min(consumer.num_ack_pending, all.state.messages);
      return { ready: all.state.messages - leased, leased, results: finished.state.messages };
    });
  }

  async clear({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { tasks, results, dead, blobs } = this.names;
    await this.call("clear", signal, async ({ manager }) => {
      await manager.streams.purge(tasks.stream);
      this.cleared = (await manager.streams.info(tasks.stream)).state.last_seq;
      await manager.streams.purge(results.stream);
      await manager.streams.purge(dead.stream);
      await manager.streams.purge(`OBJ_${blobs}`).catch((error: unknown) => {
        if (apiCode(error) === null) throw error;
      });
    });
  }

  async announce(record: Json, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const announcement: Announcement = { limits: this.options.limits, record };
    await this.call("announce the run", signal, async ({ stream }) => {
      await stream.publish(this.names.meta.subject, JSON.stringify(announcement));
    });
  }

  async announced({ signal }: { readonly signal: AbortSignal }): Promise<Json> {
    const { stream, subject } = this.names.meta;
    const message = await this.server.call("read the run's record", signal, (line) =>
      lastMessage(line, stream, subject),
    );
    const { limits, record } = announcementOf(message);
    this.known ??= limits;
    return record;
  }

  /** Also removes everything of the run from the server, where this is the run's side: workers see that it has ended. */
  async dispose(): Promise<void> {
    if (this.ready !== null) await this.remove(AbortSignal.timeout(REMOVE_MS)).catch(() => undefined);
    await this.server.close();
  }

  private async remove(signal: AbortSignal): Promise<void> {
    const { meta, tasks, results, dead, blobs } = this.names;
    await this.server.call("remove the queue of a run", signal, async ({ manager }) => {
      for (const stream of [meta.stream, tasks.stream, results.stream, dead.stream, `OBJ_${blobs}`])
        await manager.streams.delete(stream).catch((error: unknown) => {
          if (apiCode(error) === null) throw error;
        });
    });
  }

  private get names() {
    return streamsOf(this.options.run());
  }

  private call<T>(what: string, signal: AbortSignal, work: (line: NatsLine) => Promise<T>): Promise<T> {
    return this.server.call(what, signal, async (line) => {
      await this.prepared(line);
      return work(line);
    });
  }

  /** An open connection to streams that are there. */
  private line(signal: AbortSignal): Promise<NatsLine> {
    return this.call("connect", signal, async (line) => line);
  }

  /** The streams, made once; a worker finds them made by the run. */
  private prepared(line: NatsLine): Promise<void> {
    const { limits } = this.options;
    if (limits === null) return Promise.resolve();
    this.ready ??= this.makeStreams(line, limits).catch((error: unknown) => {
      this.ready = null;
      throw error;
    });
    return this.ready;
  }

  private async makeStreams(line: NatsLine, limits: NatsWorkQueueLimits): Promise<void> {
    const { meta, tasks, results, dead } = this.names;
    const bounded = { discard: DiscardPolicy.New, duplicate_window: nanos(KNOWN_MS) };
    await ensureStream(line, { name: meta.stream, subjects: [meta.subject], max_msgs_per_subject: 1 });
    await ensureStream(line, {
      ...{ name: tasks.stream, subjects: [tasks.subject], retention: RetentionPolicy.Workqueue },
      ...{ max_msgs: limits.bound, ...bounded },
    });
    await ensureStream(line, {
      ...{ name: results.stream, subjects: [results.subject], max_msgs: limits.resultBound, ...bounded },
    });
    await ensureStream(line, { name: dead.stream, subjects: [dead.subject], max_msgs: DEAD_BOUND, ...bounded });
    const consumer = { ack_wait: nanos(limits.leaseMs), max_ack_pending: limits.bound };
    await line.manager.consumers
      .add(tasks.stream, {
        ...consumer,
        durable_name: CONSUMER,
        ack_policy: AckPolicy.Explicit,
        // Whoever is given a task too often buries it.
        max_deliver: -1,
      })
      .catch(async (error: unknown) => {
        if (apiCode(error) === null) throw error;
        // One of a run that was killed, and goes on with other limits.
        await line.manager.consumers.update(tasks.stream, CONSUMER, consumer);
      });
  }

  /** The next task; null where none came. `lease` is null for one that was delivered too often. */
  private async next(
    waitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly lease: Lease<Task, Result> | null; readonly more: boolean } | null> {
    const limits = await this.limits(signal);
    const message = await this.call("take a task", signal, async (line) => this.pull(line, waitMs, signal));
    if (message === null) return null;
    // Before anything else is waited for: the lease has begun.
    const received = Date.now();
    const { deliveryCount, pending } = message.info;
    const id = message.headers?.get(MESSAGE_ID) ?? "";
    const more = pending > 0;
    if (deliveryCount > limits.maxAttempts) {
      await this.bury(message, { id, attempts: limits.maxAttempts, reason: tooOften(limits.maxAttempts) });
      return { lease: null, more };
    }
    const task = await this.call("read a task", signal, (line) => unpack(line, this.names.blobs, message));
    return { lease: this.lease(message, { id, task: task as Task, limits, received }), more };
  }

  private async limits(signal: AbortSignal): Promise<NatsWorkQueueLimits> {
    if (this.known === null) await this.announced({ signal });
    if (this.known !== null) return this.known;
    throw new WeirError(
      "WEIR_E_WORK_QUEUE",
      `no run is announced under the name ${this.options.run()} at ${this.server.url}`,
    );
  }

  private async pull(line: NatsLine, waitMs: number, signal: AbortSignal): Promise<JsMsg | null> {
    if (this.consumer?.line !== line)
      this.consumer = { line, consumer: line.stream.consumers.get(this.names.tasks.stream, CONSUMER) };
    let found: JsMsg | null = null;
    try {
      const consumer = await this.consumer.consumer;
      const messages = await consumer.fetch({ max_messages: 1, expires: waitMs });
      const forget = whenAborted(signal, () => void messages.close());
      try {
        if (signal.aborted) await messages.close();
        for await (const message of messages) found = message;
      } finally {
        forget();
      }
    } catch (error) {
      this.consumer = null;
      throw endsPull(error)
        ? new PullEnded(`the tasks of ${this.options.run()} are not to be had`, { cause: error })
        : error;
    }
    if (found === null || !signal.aborted) return found;
    found.nak();
    return null;
  }

  private lease(
    message: JsMsg,
    {
      id,
      task,
      limits,
      received,
    }: {
      readonly id: string;
      readonly task: Task;
      readonly limits: NatsWorkQueueLimits;
      readonly received: number;
    },
  ): Lease<Task, Result> {
    const attempt = message.info.deliveryCount;
    const lasts = limits.leaseMs * (1 - LEASE_MARGIN);
    let expiresAt = received + lasts;
    let ended = false;
    const assertHeld = () => {
      if (ended) throw new WeirError("WEIR_E_STATE", `the lease of "${id}" has ended already`);
      if (Date.now() < expiresAt) return;
      throw new WeirError(
        "WEIR_E_WORK_QUEUE",
        `the lease of "${id}" (delivery ${attempt}) has expired; what was done under it is not taken`,
        { id, attempt },
      );
    };
    const end = () => {
      assertHeld();
      ended = true;
    };
    const extend = () => {
      expiresAt = Date.now() + lasts;
      message.working();
    };
    return {
      id,
      task,
      attempt,
      get expiresAt() {
        return expiresAt;
      },
      extend: async () => {
        assertHeld();
        extend();
      },
      done: async (result) => {
        end();
        await this.finish(message, { id, attempt, result, limits, extend });
      },
      retry: async (delayMs) => {
        end();
        if (attempt >= limits.maxAttempts)
          await this.bury(message, { id, attempts: attempt, reason: tooOften(attempt) });
        else await this.send(() => message.nak(delayMs));
      },
      reject: async (reason) => {
        end();
        await this.bury(message, { id, attempts: attempt, reason });
      },
    };
  }

  /** Waits for room; the lease is held meanwhile, so that nobody else does the work again. */
  private async finish(
    message: JsMsg,
    {
      id,
      attempt,
      result,
      limits,
      extend,
    }: {
      readonly id: string;
      readonly attempt: number;
      readonly result: Result;
      readonly limits: NatsWorkQueueLimits;
      readonly extend: () => void;
    },
  ): Promise<void> {
    const { signal } = new AbortController();
    const { blobs, results } = this.names;
    let extended = Date.now();
    for (let tries = 0; ; tries++) {
      const taken = await this.call("hand a result over", signal, async (line) => {
        const { data, headers } = await pack(line, blobs, blobName("result", `${id}.${attempt}`), result);
        headers.set(TASK_SEQUENCE, String(message.seq));
        try {
          const { duplicate } = await line.stream.publish(results.subject, data, { msgID: id, headers });
          if (duplicate) await discard(line, blobs, headers);
          return true;
        } catch (error) {
          await discard(line, blobs, headers);
          if (isFull(error)) return false;
          throw error;
        }
      });
      if (taken) break;
      if (Date.now() - extended > limits.leaseMs / 3) {
        extend();
        extended = Date.now();
      }
      await pause(realTime, roomWait(tries), signal);
    }
    // Without the acknowledgement the task is delivered once more, and the server knows its result.
    await message.ackAck().catch(() => false);
    await this.removeBlob(message);
  }

  private async bury(message: JsMsg, letter: DeadLetter): Promise<void> {
    const { signal } = new AbortController();
    await this.call("bury a task", signal, async ({ stream }) => {
      const given = headers();
      given.set(TASK_SEQUENCE, String(message.seq));
      await stream.publish(this.names.dead.subject, JSON.stringify(letter), { msgID: letter.id, headers: given });
    });
    await this.send(() => message.term());
    await this.removeBlob(message);
  }

  /** What is told without an answer has reached the server when this resolves. */
  private async send(tell: () => void): Promise<void> {
    tell();
    await this.call("end a lease", new AbortController().signal, ({ connection }) => connection.flush());
  }

  private async removeBlob({ headers }: { readonly headers: MsgHdrs | undefined }): Promise<void> {
    await this.call("remove a task", new AbortController().signal, (line) => discard(line, this.names.blobs, headers));
  }
}

/** Unique: an object is never written over. */
function blobName(what: string, id: string): string {
  return `${what}-${id}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
}

const roomWait = (tries: number) => ROOM_MS[Math.min(tries, ROOM_MS.length - 1)] as number;

const tooOften = (attempts: number) => `delivered ${attempts} times without a result`;

function announcementOf(message: StoredMessage | null): Announcement {
  if (message === null) return { limits: null, record: null };
  return JSON.parse(new TextDecoder().decode(message.data)) as Announcement;
}
