/** Finds the target of a monitor command: a running monitor by its address, or a run folder, live or past. */
import { resolve } from "node:path";
import { connectMonitor, type MonitorClient } from "../../monitor/client/index.js";
import { LIMITS } from "../../monitor/protocol/limits.js";
import {
  describeMachine,
  findMonitor,
  type MonitorOptions,
  openReplay,
  type Replay,
  startMonitor,
} from "../../monitor/server/index.js";
import { curriculumMachine } from "../actors/curriculum/machine.js";
import { lifecycleMachine } from "../actors/run/lifecycle.js";
import { WeirError } from "../errors.js";
import { lockHolder } from "../store/index.js";
import { secretValue } from "../system/environment-secret.js";
import { note } from "./output.js";

/** Time until a monitor that was named must have answered, ms (I5). */
const CONNECT_MS = 10_000;

export interface Target {
  readonly url: string;
  /** True for a run in training; false for a run shown from its folder. */
  readonly live: boolean;
  /** True when this process serves it. */
  readonly ours: boolean;
  close(): Promise<void>;
}

const isAddress = (target: string): boolean => /^(https?|wss?):\/\//.test(target);

/** The value of the environment variable that holds the token. Errors: WEIR_E_USAGE when it is not set. */
export function tokenFrom(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const token = secretValue(name);
  if (token !== null) return token;
  throw new WeirError(
    "WEIR_E_USAGE",
    `expected a token in the environment variable ${name}, it is not set; export it, or name another with --token-env`,
    { name },
  );
}

/**
 * The run's own monitor where it has one, else a server over what its folder holds; for a page (`onlyFolder`) the rollouts
 * may come after the curves. With run folders to `compare`, always a server of our own: a run's monitor knows only its run.
 * Errors: those of reading the folders and listening; WEIR_E_USAGE for too many folders, or two runs of one name. */
export async function openTarget(
  target: string,
  options: Omit<MonitorOptions, "source"> = {},
  onlyFolder = false,
  compare: readonly string[] = [],
): Promise<Target> {
  if (isAddress(target) && !onlyFolder) return { url: target, live: true, ours: false, close: () => Promise.resolve() };
  const folder = resolve(target);
  const running = compare.length > 0 ? null : await findMonitor(folder, note);
  if (running) return { url: running.url, live: true, ours: false, close: () => Promise.resolve() };
  if (compare.length > LIMITS.compared)
    throw new WeirError(
      "WEIR_E_USAGE",
      `expected at most ${LIMITS.compared} runs to compare with, got ${compare.length}; leave some out`,
      { compare },
    );
  const stop = new AbortController();
  const { replay, live } = await openFolder(folder, stop.signal);
  const { hub } = replay;
  const known = new Set([hub.run?.id]);
  for (const other of compare) {
    const { replay: next } = await openFolder(resolve(other), stop.signal, false);
    const id = next.hub.run?.id;
    if (known.has(id))
      throw new WeirError(
        "WEIR_E_USAGE",
        `expected runs with names of their own, "${other}" is the second "${id}"; leave it out`,
        { compare },
      );
    known.add(id);
    hub.compareWith(next.hub);
  }
  if (!onlyFolder) await replay.traces;
  const server = await startMonitor({ ...options, source: hub });
  return {
    url: server.url,
    live,
    ours: true,
    close: () => {
      stop.abort();
      return server.close();
    },
  };
}

/** A run shown from its folder, followed while another process writes it. */
async function openFolder(
  folder: string,
  signal: AbortSignal,
  withTraces = true,
): Promise<{ readonly replay: Replay; readonly live: boolean }> {
  const machines = {
    lifecycle: describeMachine(lifecycleMachine.definition, "lifecycle"),
    curriculum: describeMachine(curriculumMachine.definition, "curriculum"),
  };
  const replay = await openReplay(folder, machines, withTraces);
  const live = lockHolder(folder) !== null;
  if (live) replay.follow(signal, () => lockHolder(folder) !== null);
  else replay.endUnlessFinished();
  return { replay, live };
}

/** The monitor of a run that is under way. Errors: WEIR_E_MONITOR_CONNECTION where it has none. */
export async function liveTarget(target: string): Promise<Target> {
  const known = (url: string): Target => ({ url, live: true, ours: false, close: () => Promise.resolve() });
  if (isAddress(target)) return known(target);
  const folder = resolve(target);
  const running = await findMonitor(folder);
  if (running) return known(running.url);
  throw new WeirError(
    "WEIR_E_MONITOR_CONNECTION",
    lockHolder(folder) === null
      ? `no run is under way in "${folder}"; start it, or resume it with \`weir train --resume\``
      : `the run in "${folder}" has no monitor of its own; set monitor.enabled: true when it is started`,
    { folder },
  );
}

/** A client of the target, connected. Errors: WEIR_E_MONITOR_CONNECTION when it does not answer in time or refuses. */
export async function connectTarget(target: Target, token: string | undefined): Promise<MonitorClient> {
  const client = connectMonitor(target.url, { name: "weir-cli/1", ...(token ? { token } : {}) });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new WeirError(
            "WEIR_E_MONITOR_CONNECTION",
            `expected a monitor at ${target.url}, it did not answer within ${CONNECT_MS / 1000} s; check the address`,
            { url: target.url },
          ),
        ),
      CONNECT_MS,
    );
  });
  try {
    await Promise.race([client.ready(), late]);
    return client;
  } catch (error) {
    client.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
