/**
 * The workers of a run: the queue that groups go through, and, where the queue is inside this process, a worker over the run's own
 * sampler and reward.
 */
import type { Config } from "../../config/schema.js";
import type { ActorStatus } from "../../contracts/actor-status.js";
import type { GroupTask } from "../../contracts/group-work.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { packageVersion } from "../../model/tensor/native/index.js";
import type { DrawnGroup } from "../../streams/group-workers.js";
import type { Time } from "../../system/time.js";
import type { RunParts } from "../parts/part-kinds.js";
import { artifactKind } from "../update/publisher.js";
import { QueuedGroups } from "../worker/queued-groups.js";
import { work } from "../worker/work.js";
import type { WorkSettings } from "../worker/work-settings.js";
import type { RunSources } from "./resume-check.js";
import { runAlert } from "./run-alert.js";
import type { PreparedWorkers, RunContext } from "./run-context.js";
import { samplerCalls } from "./sampler-engines.js";

export interface RunWorkersOptions {
  /** Read when the run works. */
  readonly context: () => RunContext;
  readonly queue: NonNullable<RunParts["workQueue"]>;
  readonly model: RunSources["model"];
  readonly configured: Config;
  readonly time: Time;
}

/** Errors: WEIR_E_CAPABILITY where weights could not get to the workers, or would change while they draw. */
export function assertWorkers(config: Config, parts: RunParts): void {
  const { workQueue } = parts;
  if (workQueue === undefined) return;
  const shared = artifactKind(parts) === "handle";
  const refuse = (path: string, text: string): never => {
    throw new WeirError("WEIR_E_CAPABILITY", `option "${path}": ${text}`, { path });
  };
  if (workQueue.kind === "nats" && parts.policyStore.kind !== "nats")
    refuse(
      "policyStore.actor",
      `workers of the work queue "nats" get policies from the store "nats", not from "${parts.policyStore.kind}"; set it to auto or nats`,
    );
  if (workQueue.kind === "memory" && shared && config.async.maxLag > 0)
    refuse(
      "workQueue.actor",
      "with async.maxLag above 0 the trainer would change the weights while a worker of the same process draws from them; set it to none, or async.maxLag to 0",
    );
}

export class RunWorkers implements PreparedWorkers {
  private readonly groups: QueuedGroups;
  /** The worker inside this process, while it runs. */
  private own: { readonly stop: AbortController; readonly ended: Promise<void> } | null = null;

  constructor(private readonly options: RunWorkersOptions) {
    const { context, queue, configured, time } = options;
    this.groups = new QueuedGroups({
      queue,
      time,
      maxTasks: configured.workQueue.maxTasks,
      settings: async () => this.settings(),
      onLost: (groupId, reason) => this.tellLost(groupId, reason),
      onIdle: (waiting, seconds) =>
        context().log.warn(
          { actor: "workers", waiting },
          `no worker has taken a group for ${seconds} s; start one with: weir worker --queue URL`,
        ),
    });
  }

  prepare(signal: AbortSignal): Promise<void> {
    return this.groups.prepare(signal);
  }

  async draw(task: GroupTask, options: { readonly signal: AbortSignal }): Promise<DrawnGroup> {
    await this.groups.prepare(options.signal);
    if (this.options.queue.kind === "memory") this.startOwn();
    return this.groups.draw(task, options);
  }

  async abandon(): Promise<void> {
    this.own?.stop.abort();
    await Promise.all([this.own?.ended, this.groups.abandon()]);
  }

  async close(): Promise<void> {
    await this.abandon();
    await this.groups.close();
  }

  statuses(): readonly ActorStatus[] {
    return this.groups.statuses();
  }

  private settings(): Json {
    const { context, configured, model } = this.options;
    // Of no use to a worker; what opens the monitor is nobody else's.
    const { monitor: _, log: __, ...config } = configured;
    const settings: WorkSettings = {
      schema_version: 1,
      version: packageVersion(),
      model,
      artifact: artifactKind(context().parts),
      config: JSON.parse(JSON.stringify(config)) as WorkSettings["config"],
    };
    return settings as unknown as Json;
  }

  private startOwn(): void {
    if (this.own !== null) return;
    const { context, queue, time } = this.options;
    const { config, tokenizer } = context();
    const stop = new AbortController();
    const parts = {
      ...{ queue, policies: null },
      get sampler() {
        return context().parts.sampler;
      },
      get reward() {
        return context().parts.reward;
      },
      decode: (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: false }),
    };
    const options = {
      ...{ name: "in-process", lanes: samplerCalls(config), groupsPerCall: config.rollout.promptsPerCall },
      ...{ rewardConcurrency: config.reward.concurrency, time },
    };
    const ended = work(parts, options, { drain: stop.signal, abort: stop.signal })
      .catch((error: unknown) => {
        if (!stop.signal.aborted) this.groups.fail(error);
      })
      .finally(() => {
        this.own = null;
      });
    this.own = { stop, ended };
  }

  private tellLost(groupId: string, reason: string): void {
    const context = this.options.context();
    context.log.warn({ actor: "workers", groupId }, reason);
    const alert = runAlert(context, {
      ...{ id: `dead_letter-${groupId}`, level: "warn", rule: "dead_letter", metric: "reward/scored_share" },
      ...{ value: 0, threshold: 0, text: `workers gave up the group ${groupId}: ${reason}` },
    });
    context.taps.alert(alert);
  }
}
