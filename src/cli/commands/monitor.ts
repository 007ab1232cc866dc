import { spawn } from "node:child_process";
import { type Command, InvalidArgumentError } from "commander";
import type { ChannelEvent, ItemOf, RunInfo, StreamChannel, TraceSummary } from "../../../monitor/client/index.js";
import type { Alert } from "../../contracts/alert.js";
import type { MetricName, MetricRecord } from "../../contracts/metrics.js";
import { WeirError } from "../../errors.js";
import { connectTarget, openTarget, tokenFrom } from "../monitor-target.js";
import { type ExitCode, note, print, printJson, table } from "../output.js";

/** `weir monitor`: the page of a run, live or past; its events as lines; the records around a step. */

interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly tokenEnv?: string;
  readonly open?: boolean;
  readonly compare?: readonly string[];
}

interface WatchOptions {
  readonly tokenEnv?: string;
  readonly json?: boolean;
}

const CHANNELS: readonly StreamChannel[] = [
  "run",
  "metrics",
  "alerts",
  "guard",
  "lifecycle",
  "logs",
  "config",
  "traces",
  "pipeline",
  "actors",
  "knobs",
];
const DEFAULT_TAIL = "metrics,alerts,lifecycle,logs";
/** Time to read one step's rollouts back, ms (I5). */
const STORED_MS = 30_000;
const ENDED: readonly RunInfo["status"][] = ["completed", "stopped", "failed"];

/** Serves the page until interrupted; where the run has its own monitor, prints that address and ends. */
export async function serveCommand(run: string, options: ServeOptions): Promise<ExitCode> {
  const token = tokenFrom(options.tokenEnv);
  const { host, port } = options;
  const compare = options.compare ?? [];
  const target = await openTarget(run, { host, port, ...(token ? { token } : {}) }, true, compare);
  print(target.url);
  if (options.open) openBrowser(target.url);
  if (!target.ours) {
    note("this is the run's own monitor");
    return 0;
  }
  if (compare.length > 0) note(`next to it: ${compare.join(", ")}`);
  note(`${target.live ? "a run without a monitor of its own" : "a past run"}; interrupt to stop serving`);
  await interrupted();
  await target.close();
  return 0;
}

/** Prints events as they come; ends with the run, or at once for a past run. */
export async function tailCommand(
  name: string,
  options: WatchOptions & { readonly channels: readonly StreamChannel[] },
): Promise<ExitCode> {
  const token = tokenFrom(options.tokenEnv);
  const target = await openTarget(name);
  const client = await connectTarget(target, token);
  const stopped = interrupted();
  try {
    // The `run` channel is always followed: it tells when the run has ended.
    const over = new Promise<void>((resolve) => {
      client.subscribe("run", (event) => {
        if (options.channels.includes("run")) printEvent("run", event, options.json ?? false);
        const run = "items" in event ? event.items.at(-1) : undefined;
        if (run && (!target.live || ENDED.includes(run.status))) resolve();
      });
    });
    const others = options.channels.filter((channel) => channel !== "run");
    const whole = others.map(
      (channel) =>
        new Promise<void>((resolve) => {
          client.subscribe(channel, (event) => {
            printEvent(channel, event, options.json ?? false);
            // Its first event is the snapshot, or a gap where the monitor has no such channel.
            resolve();
          });
        }),
    );
    await Promise.race([Promise.all([over, ...whole]), stopped]);
  } finally {
    client.close();
    await target.close();
  }
  return 0;
}

/** Metrics, alerts and traces of the steps around one: for finding out what went wrong there. */
export async function snapshotCommand(
  name: string,
  options: WatchOptions & { readonly around: number; readonly window: number },
): Promise<ExitCode> {
  const token = tokenFrom(options.tokenEnv);
  const target = await openTarget(name);
  const client = await connectTarget(target, token);
  const first = <C extends StreamChannel>(channel: C) =>
    new Promise<readonly ItemOf<C>[]>((resolve) => {
      client.subscribe(channel, (event) => {
        if (event.kind === "snapshot") resolve(event.items);
      });
    });
  try {
    const [runs, metrics, alerts, traces] = await Promise.all([
      first("run"),
      first("metrics"),
      first("alerts"),
      first("traces"),
    ]);
    const { around, window } = options;
    const near = (record: { readonly step: number; readonly phase: number }) =>
      Math.abs(record.step - around) <= window && record.phase > 0;
    const steps = [...new Set(metrics.filter(near).map((record) => record.step))];
    const found = {
      run: runs.at(-1) ?? null,
      around,
      window,
      metrics: metrics.filter(near),
      alerts: alerts.filter(near),
      traces: await withStored(traces.filter(near), steps, target.url, token),
    };
    if (options.json) printJson(found);
    else printSnapshot(found);
  } finally {
    client.close();
    await target.close();
  }
  return 0;
}

/** Most rollouts of a step that are requested; the server's own limit. */
const ROLLOUTS_PER_STEP = 500;

/** The traces, and for steps that have none in the monitor's list those of the run folder; in the order of the steps. */
async function withStored(
  held: readonly TraceSummary[],
  steps: readonly number[],
  url: string,
  token: string | undefined,
): Promise<readonly TraceSummary[]> {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const found: TraceSummary[] = [];
  for (const step of steps) {
    const known = held.filter((trace) => trace.step === step);
    if (known.length > 0) {
      found.push(...known);
      continue;
    }
    const address = new URL(`/v2/traces?step=${step}&limit=${ROLLOUTS_PER_STEP}`, url.replace(/^ws/, "http"));
    const answer = await fetch(address, { headers, signal: AbortSignal.timeout(STORED_MS) }).catch(() => null);
    if (!answer?.ok) continue;
    const { traces } = (await answer.json()) as { traces: readonly TraceSummary[] };
    found.push(...traces.toReversed());
  }
  return [...found, ...held.filter((trace) => !steps.includes(trace.step))];
}

function printEvent<C extends StreamChannel>(channel: C, event: ChannelEvent<C>, json: boolean): void {
  if (event.kind === "gap") {
    note(`${channel}: ${event.dropped} items were left out (${event.reason})`);
    return;
  }
  for (const item of event.items)
    print(
      json ? JSON.stringify({ channel, seq: event.seq, data: item }) : `${channel.padEnd(9)} ${line(channel, item)}`,
    );
}

/** One line of text. */
function line(channel: StreamChannel, item: unknown): string {
  switch (channel) {
    case "metrics": {
      const { step, phase, values } = item as MetricRecord;
      const shown = Object.entries(values).map(([name, value]) => `${name}=${Number(value.toPrecision(4))}`);
      return `step ${step} phase ${phase}  ${shown.join("  ")}`;
    }
    case "alerts": {
      const { level, step, text } = item as Alert;
      return `${level} step ${step}: ${text}`;
    }
    case "traces": {
      const { step, id, reward, excerpt } = item as TraceSummary;
      return `step ${step} ${id} reward ${reward ?? "none"}: ${excerpt.replace(/\s+/g, " ").slice(-100)}`;
    }
    case "logs": {
      const { level, text } = item as ItemOf<"logs">;
      return `${level} ${text}`;
    }
    default:
      return JSON.stringify(item);
  }
}

function printSnapshot(found: {
  readonly metrics: readonly MetricRecord[];
  readonly alerts: readonly Alert[];
  readonly traces: readonly TraceSummary[];
}): void {
  const names = [...new Set(found.metrics.flatMap((record) => Object.keys(record.values) as MetricName[]))];
  table(
    ["metric", ...found.metrics.map((record) => `step ${record.step}`)],
    names.map((name) => [
      name,
      ...found.metrics.map((record) => {
        const value = record.values[name];
        return value === undefined ? "–" : Number(value.toPrecision(4));
      }),
    ]),
  );
  for (const alert of found.alerts) print(`${alert.level} step ${alert.step}: ${alert.text}`);
  print(`${found.traces.length} traces in these steps`);
}

/** Resolves at the first interrupt or request to end. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
}

/** Opens the address in the default browser; not having one is not an error. */
function openBrowser(url: string): void {
  const program = process.platform === "darwin" ? "open" : process.platform === "win32" ? "explorer" : "xdg-open";
  const child = spawn(program, [url], { stdio: "ignore", detached: true });
  child.on("error", () => note(`no browser could be opened; the address is ${url}`));
  child.unref();
}

function integer(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError("expected a whole number ≥ 0");
}

function channelList(text: string): StreamChannel[] {
  return text.split(",").map((name) => {
    const known = CHANNELS.find((channel) => channel === name.trim());
    if (known) return known;
    throw new InvalidArgumentError(`expected channels out of ${CHANNELS.join(", ")}`);
  });
}

export function register(program: Command): void {
  const monitor = program
    .command("monitor")
    .description("watch a run, live or past, in the browser")
    .argument("[run]", "run folder")
    .option("--host <address>", "address to listen on; anything but loopback needs a token", "127.0.0.1")
    .option("--port <port>", "port; 0 takes a free one", integer, 0)
    .option("--token-env <name>", "environment variable that holds the token")
    .option("--open", "open the page in the browser")
    .option("--compare <runs...>", "further run folders, whose curves are drawn over those of the first")
    .action(async (run: string | undefined, options: ServeOptions) => {
      if (run === undefined)
        throw new WeirError("WEIR_E_USAGE", "expected a run folder, got none; such as: weir monitor runs/ID");
      process.exitCode = await serveCommand(run, options);
    });
  monitor
    .command("tail")
    .description("print the events of a run as lines")
    .argument("<target>", "run folder, or the address of a monitor")
    .option("--channels <names>", "comma-separated", channelList, channelList(DEFAULT_TAIL))
    .option("--token-env <name>", "environment variable that holds the token")
    .option("--json", "one JSON object per line")
    // `monitor` itself takes --token-env before its subcommands see it: what both know is read from both.
    .action(async (target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<WatchOptions & { channels: StreamChannel[] }>();
      process.exitCode = await tailCommand(target, options);
    });
  monitor
    .command("snapshot")
    .description("metrics, alerts and traces around a step")
    .argument("<target>", "run folder, or the address of a monitor")
    .requiredOption("--around <step>", "the step", integer)
    .option("--window <n>", "steps on either side", integer, 3)
    .option("--token-env <name>", "environment variable that holds the token")
    .option("--json", "print JSON")
    .action(async (target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<WatchOptions & { around: number; window: number }>();
      process.exitCode = await snapshotCommand(target, options);
    });
}
