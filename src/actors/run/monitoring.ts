import { basename } from "node:path";
import { MonitorHub } from "../../../monitor/server/hub.js";
import { describeMachine } from "../../../monitor/server/machine.js";
import { announceMonitor } from "../../../monitor/server/run-file.js";
import { startMonitor } from "../../../monitor/server/server.js";
import type { CommandAnswer, MonitorCommand } from "../../../monitor/server/source.js";
import type { Fact } from "../../contracts/fact.js";
import type { Json } from "../../contracts/task.js";
import type { Trace } from "../../contracts/trace.js";
import type { PipelineReading } from "../../streams/gauges.js";
import { curriculumMachine } from "../curriculum/machine.js";
import { lifecycleMachine } from "./lifecycle.js";
import type { RunContext } from "./run-context.js";
import { monitorToken } from "./start-check.js";

/** Feeds a monitor hub from a run and carries the monitor's commands back. The run never waits for it (I10). */

export interface MonitorControls {
  pause(): void;
  resume(): void;
  checkpoint(): void;
  stop(abort: boolean): void;
  skipPhase(): boolean;
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
  hub.secrets.add(secretOf(config.monitor.tokenEnv), secretOf(config.reward.judge.apiKeyEnv));
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
    fact: (fact) => hub.publishFact(fact),
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

/** The value of an environment variable that an option names. */
function secretOf(variable: string | null): string | undefined {
  return variable === null ? undefined : process.env[variable];
}

const ENDED = ["stopped", "completed", "failed"];

/** Sends a command to the machines; its effect is reported when it has taken place. */
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
      return controls.skipPhase()
        ? { accepted: true, effect: { ok: true, text: "the next phase begins after the current step" } }
        : { accepted: false, reason: "the run is in its last phase or does not train" };
    default:
      return { accepted: false, reason: `this run does not know the command "${command.name}"` };
  }
}
