import { hostname } from "node:os";
import type { Command } from "commander";
import { work } from "../../actors/worker/work.js";
import { parseSettings } from "../../actors/worker/work-settings.js";
import type { GroupResult, GroupTask } from "../../contracts/group-work.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { NatsServer } from "../../remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../remote/nats/nats-work-queue.js";
import { runsAt } from "../../remote/nats/runs.js";
import { pause } from "../../system/pause.js";
import { realTime } from "../../system/time.js";
import { leaveSoon } from "../leave.js";
import { type ExitCode, note } from "../output.js";
import { buildWorker, type WorkerMachine } from "../worker/worker-parts.js";

/** `weir worker`: draws and scores groups of a run on another machine, until it is told to stop. */

export interface WorkerCommandOptions {
  readonly queue: string;
  readonly run?: string;
  readonly credentialsEnv?: string;
  readonly model?: string;
  readonly set: readonly string[];
  readonly parts: readonly string[];
  readonly policies?: string;
  readonly once?: boolean;
}

/** Between two looks for a run, and at the record of the run that is worked for, ms. */
const LOOK_MS = 2_000;
/** A lane more than there are engines: while one group is scored, another is drawn. */
const SCORING_LANES = 1;

interface Stop {
  readonly drain: AbortSignal;
  readonly abort: AbortSignal;
}

export async function workerCommand(options: WorkerCommandOptions): Promise<ExitCode> {
  const credentialsEnv = options.credentialsEnv ?? null;
  const server = new NatsServer({ url: options.queue, credentialsEnv });
  const machine: WorkerMachine = {
    ...{ queueUrl: options.queue, credentialsEnv, set: options.set, parts: options.parts },
    ...{ model: options.model ?? null, policies: options.policies ?? null },
  };
  const [drain, abort] = [new AbortController(), new AbortController()];
  const onSignal = () => {
    note(
      drain.signal.aborted ? "giving back what is in work" : "finishing what is in work (once more to give it back)",
    );
    if (drain.signal.aborted) abort.abort();
    drain.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  const stop = { drain: drain.signal, abort: abort.signal };
  try {
    while (!stop.drain.aborted) {
      const ended = await oneRun(server, options.run, machine, stop);
      if (ended && options.once) break;
    }
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    await server.close();
    leaveSoon();
  }
  return 0;
}

/** Works for one run; false where the server went away, which is waited out. */
async function oneRun(
  server: NatsServer,
  named: string | undefined,
  machine: WorkerMachine,
  stop: Stop,
): Promise<boolean> {
  try {
    const run = await whenRun(server, named, stop.drain);
    if (run !== null) await workFor(run, server, machine, stop);
    return true;
  } catch (error) {
    if (!WeirError.isInstance(error) || error.code !== "WEIR_E_UNREACHABLE") throw error;
    note(`${error.message}; trying again`);
    return false;
  }
}

/** The run to work for, as soon as there is one; null once the worker is to stop. Errors: WEIR_E_USAGE where it is not clear which. */
async function whenRun(server: NatsServer, named: string | undefined, drain: AbortSignal): Promise<string | null> {
  for (let told = false; !drain.aborted; told = true) {
    const runs = await runsAt(server, drain).catch((error: unknown) => {
      if (drain.aborted) return [] as string[];
      throw error;
    });
    if (named !== undefined ? runs.includes(named) : runs.length === 1) return named ?? (runs[0] as string);
    if (named === undefined && runs.length > 1)
      throw new WeirError(
        "WEIR_E_USAGE",
        `several runs have work at ${server.url}; give one with --run: ${runs.join(", ")}`,
      );
    if (!told) note(`waiting for ${named === undefined ? "a run" : `the run ${named}`} at ${server.url}`);
    await pause(realTime, LOOK_MS, drain).catch(() => undefined);
  }
  return null;
}

/** Works for a run until it ends, its record changes, or the worker is to stop. */
async function workFor(run: string, server: NatsServer, machine: WorkerMachine, stop: Stop): Promise<void> {
  const queue = createNatsWorkQueue<GroupTask, GroupResult>({ server, run: () => run, limits: null });
  const record = await queue.announced({ signal: stop.drain });
  if (record === null) return;
  const { close, config, ...parts } = await buildWorker(run, parseSettings(record), machine);
  const own = new AbortController();
  const ended = new AbortController();
  const name = `${hostname()}-${process.pid}`;
  note(`worker ${name} works for ${run}`);
  let groups = 0;
  const watching = watch(queue, record, { drain: own, abort: ended });
  try {
    await work(
      { queue, ...parts },
      {
        name,
        lanes: config.rollout.engines + SCORING_LANES,
        groupsPerCall: config.rollout.promptsPerCall,
        rewardConcurrency: config.reward.concurrency,
        time: realTime,
        onDone: () => {
          groups++;
        },
        onHeld: (state) =>
          note(state.ready ? "the reward is ready again; takes groups" : `takes no groups: ${state.reason}`),
        onFault: (error, ids) =>
          note(`${ids.join(", ")} goes back to the queue: ${error instanceof Error ? error.message : String(error)}`),
      },
      { drain: AbortSignal.any([stop.drain, own.signal]), abort: AbortSignal.any([stop.abort, ended.signal]) },
    );
  } catch (error) {
    // A run that has ended took the queue away.
    if (!ended.signal.aborted) throw error;
  } finally {
    own.abort();
    await watching;
    await close();
    note(`${groups} groups done for ${run}`);
  }
}

/** Has the worker end where the run has ended, and begin anew where its record is another: it was resumed with other options. */
async function watch(
  queue: { announced(options: { readonly signal: AbortSignal }): Promise<Json> },
  known: Json,
  { drain, abort }: { readonly drain: AbortController; readonly abort: AbortController },
): Promise<void> {
  const { signal } = drain;
  while (!signal.aborted) {
    await pause(realTime, LOOK_MS, signal).catch(() => undefined);
    if (signal.aborted) return;
    // While the server is away the worker waits for it.
    const record = await queue.announced({ signal }).catch(() => known);
    if (JSON.stringify(record) === JSON.stringify(known)) continue;
    if (record === null) abort.abort();
    drain.abort();
  }
}

const collect = (value: string, all: readonly string[]) => [...all, value];

export function register(program: Command): void {
  program
    .command("worker")
    .description("draws and scores groups for a run on another machine, over a NATS server")
    .requiredOption("--queue <url>", "address of the NATS server, as workQueue.url of the run")
    .option("--run <name>", "name of the run there, where several have work")
    .option("--credentials-env <variable>", "environment variable with the path of a NATS credentials file")
    .option("--model <dir>", "the run's base model on this machine; the run's own path where left out")
    .option(
      "--set <path=value>",
      "an option of the run that is another one on this machine, such as engine.threads=8 or sampler.urls (repeatable)",
      collect,
      [] as readonly string[],
    )
    .option("--parts <file>", "load parts of your own from this ES module (docs/parts.md; repeatable)", collect, [])
    .option("--policies <dir>", "folder for policies, of this worker alone; in memory where left out and there is room")
    .option("--once", "end with the run instead of waiting for the next one")
    .action(async (options: WorkerCommandOptions) => {
      process.exitCode = await workerCommand(options);
    });
}
