import { basename } from "node:path";
import { COMMAND_ARGS, type CommandArgs, type CommandName } from "../../../monitor/protocol/index.js";
import { MonitorHub } from "../../../monitor/server/hub.js";
import { describeMachine } from "../../../monitor/server/machine.js";
import { announceMonitor } from "../../../monitor/server/run-file.js";
import { Secrets } from "../../../monitor/server/secrets.js";
import { startMonitor } from "../../../monitor/server/server.js";
import type { CommandAnswer, MonitorCommand } from "../../../monitor/server/source.js";
import { Webhook } from "../../../monitor/server/webhook.js";
import type { Config } from "../../config/schema.js";
import type { Fact, FactType } from "../../contracts/fact.js";
import type { Initiator, OrderWish } from "../../contracts/knob.js";
import type { Json } from "../../contracts/task.js";
import type { Trace } from "../../contracts/trace.js";
import { WeirError } from "../../errors.js";
import type { PipelineReading } from "../../streams/gauges.js";
import { secretValue } from "../../system/environment-secret.js";
import { curriculumMachine } from "../curriculum/machine.js";
import { knobsOfRun } from "./knobs.js";
import { lifecycleMachine } from "./lifecycle.js";
import type { RunContext } from "./run-context.js";
import { monitorToken, webhookToken } from "./start-check.js";

/** Feeds a monitor hub from a run and carries the monitor's commands back. The run never waits for it (I10). */

export interface MonitorControls {
  pause(): void;
  resume(): void;
  checkpoint(): void;
  stop(abort: boolean): void;
  skipPhase(by: Initiator): boolean;
  /** Throws where the order could not be obeyed now; resolves once it has taken effect. */
  order(wish: OrderWish): Promise<void>;
  /** The same for going back to a snapshot, the newest one where `to` is null. */
  rollBack(by: Initiator, to: number | null, reason: string): Promise<void>;
  /** The same for another part, by the name of a registered one. */
  replace(kind: string, name: string, by: Initiator): Promise<void>;
  /** Resolves with the lifecycle's state once `test` is true for it. */
  reached(test: (lifecycle: string) => boolean): Promise<string>;
}

export interface AttachedMonitor {
  readonly url: string;
  fact(fact: Fact): void;
  trace(trace: Trace): void;
  gauges(reading: PipelineReading): void;
  close(): Promise<void>;
}

/** Serves the monitor of a run. `past` are the facts of the run before it was resumed. */
export async function attachMonitor(
  context: RunContext,
  controls: MonitorControls,
  past: Iterable<Fact>,
): Promise<AttachedMonitor> {
  const { config, store } = context;
  const hub = new MonitorHub();
  hub.useFolder(store.directory);
  hub.secrets.add(...secretsOf(config));
  hub.publishRun({
    id: basename(store.directory),
    live: true,
    status: "starting",
    startedAt: context.time.now(),
    seed: config.run.seed,
    model: config.model.path,
    plannedSteps: config.phases.reduce((sum, phase) => sum + phase.steps, 0),
  });
  hub.publishConfig(JSON.parse(JSON.stringify(config)) as Json);
  hub.publishLifecycle({
    machine: "lifecycle",
    value: "operating",
    definition: describeMachine(lifecycleMachine.definition, "lifecycle"),
  });
  hub.publishLifecycle({
    machine: "curriculum",
    value: "waiting",
    definition: describeMachine(curriculumMachine.definition, "curriculum"),
  });
  for (const fact of past) hub.publishFact(fact);
  hub.publishKnobs(knobsOfRun(context));
  hub.onCommand((command) => carryOut(command, controls));
  const token = monitorToken(config.monitor);
  const server = await startMonitor({
    host: config.monitor.host,
    port: config.monitor.port,
    source: hub,
    ...(token ? { token } : {}),
  });
  const withdraw = await announceMonitor(store.directory, server.url, server.instance).catch((error: unknown) => {
    // Other programs then read the folder instead of the monitor.
    context.log.warn({ actor: "monitor", err: error }, "monitor.json could not be written");
    return () => Promise.resolve();
  });
  return {
    url: server.url,
    fact: (fact) => {
      hub.publishFact(fact);
      if (MOVING_KNOBS.includes(fact.type)) hub.publishKnobs(knobsOfRun(context));
    },
    trace: (trace) => hub.publishTrace(trace),
    gauges: ({ queues, actors, lag }) => {
      hub.publishPipeline(queues);
      hub.publishActors(actors, lag);
    },
    close: async () => {
      await withdraw().catch(() => undefined);
      await server.close();
    },
  };
}

/** The receiver that `monitor.webhook` names; null without one. */
export function webhookOf({ config, store, log }: RunContext): Webhook | null {
  const { url, minLevel, timeoutMs, retries } = config.monitor.webhook;
  if (url === null) return null;
  const token = webhookToken(config.monitor);
  const secrets = new Secrets();
  secrets.add(...secretsOf(config));
  return new Webhook({
    ...{ url, minLevel, timeoutMs, retries, secrets, run: basename(store.directory) },
    ...(token ? { token } : {}),
    lost: (event, reason) => log.warn({ actor: "webhook", event }, `a message was given up: ${reason}`),
  });
}

/** What must not be shown anywhere: a server may say in an error what it was sent. */
function secretsOf({ monitor, reward, sampler, trainer }: Config): readonly (string | null)[] {
  return [
    ...[monitor.tokenEnv, monitor.webhook.tokenEnv],
    ...[reward.judge.apiKeyEnv, sampler.apiKeyEnv, trainer.apiKeyEnv],
  ].map((variable) => secretValue(variable));
}

/** Facts after which knobs may have other values, or be others. */
const MOVING_KNOBS: readonly FactType[] = ["run.resumed", "run.rolledBack", "part.replaced", "knob.turned"];

const ENDED = ["stopped", "completed", "failed"];

/** The arguments of a command. Errors: WEIR_E_USAGE naming the first that is not what the command takes. */
function argsOf<N extends CommandName>(command: MonitorCommand, name: N): CommandArgs<N> {
  const result = COMMAND_ARGS[name].safeParse(command.args);
  if (result.success) return result.data as CommandArgs<N>;
  const [issue] = result.error.issues;
  throw new WeirError("WEIR_E_USAGE", `${name}: argument "${issue?.path.join(".")}": ${issue?.message}`, { name });
}

const operatorOf = ({ by }: MonitorCommand): Initiator => ({ kind: "operator", name: `${by.client} at ${by.address}` });

/** Sends a command to the machines; its effect is reported when it has taken place. Errors: why it is refused. */
function carryOut(command: MonitorCommand, controls: MonitorControls): CommandAnswer {
  const effect = async (test: (lifecycle: string) => boolean, text: string) => {
    const state = await controls.reached((lifecycle) => test(lifecycle) || ENDED.includes(lifecycle));
    return { ok: test(state), text: test(state) ? text : `the run is ${state}`, state };
  };
  switch (command.name) {
    case "pause":
      controls.pause();
      return { accepted: true, effect: effect((state) => state === "paused", "paused between two steps") };
    case "resume":
      controls.resume();
      return { accepted: true, effect: effect((state) => state !== "paused", "running again") };
    case "checkpoint":
      controls.checkpoint();
      return { accepted: true, effect: effect((state) => state === "checkpointing", "writing a checkpoint") };
    case "stop":
      controls.stop(command.args.abort === true);
      return { accepted: true, effect: effect((state) => ENDED.includes(state), "the run has ended") };
    case "skipPhase":
      return controls.skipPhase(operatorOf(command))
        ? { accepted: true, effect: { ok: true, text: "the next phase begins after the current step" } }
        : { accepted: false, reason: "the run is in its last phase or does not train" };
    case "set": {
      const { path, value, reason = null } = argsOf(command, "set");
      const done = controls.order({ order: { type: "set", path, value }, by: operatorOf(command), reason });
      return {
        accepted: true,
        effect: done.then(() => ({ ok: true, text: `${path} is ${value ?? "the loss's own"} now` })),
      };
    }
    case "skipBatch": {
      const { reason = null } = argsOf(command, "skipBatch");
      const done = controls.order({ order: { type: "skipBatch" }, by: operatorOf(command), reason });
      return { accepted: true, effect: done.then(() => ({ ok: true, text: "the next step's batch will be skipped" })) };
    }
    case "replace": {
      const { kind, name } = argsOf(command, "replace");
      const done = controls.replace(kind, name, operatorOf(command));
      return { accepted: true, effect: done.then(() => ({ ok: true, text: `the ${kind} part is "${name}" now` })) };
    }
    case "rollback": {
      const { toStep = null, reason = "asked for by an operator" } = argsOf(command, "rollback");
      const done = controls.rollBack(operatorOf(command), toStep, reason);
      return { accepted: true, effect: done.then(() => ({ ok: true, text: "the run went back to a snapshot" })) };
    }
  }
}
