/** `weir control`: steers a run that is under way, through its live monitor. */
import type { Command } from "commander";
import type { CommandArgs, CommandName, KnobBoard, MonitorClient, SentCommand } from "../../../monitor/client/index.js";
import { nearest } from "../../config/load.js";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { connectTarget, liveTarget, tokenFrom } from "../monitor-target.js";
import { type ExitCode, note, print, printJson, table } from "../output.js";

interface ControlOptions {
  readonly to?: string;
  readonly abort?: boolean;
  readonly reason?: string;
  readonly tokenEnv?: string;
  readonly json?: boolean;
}

/** A command of the protocol with its arguments. */
interface Order<N extends CommandName = CommandName> {
  readonly name: N;
  readonly args: CommandArgs<N>;
}

/** Commands without arguments, by their names on the command line. */
const PLAIN: Readonly<Record<string, CommandName>> = {
  pause: "pause",
  resume: "resume",
  checkpoint: "checkpoint",
  "skip-phase": "skipPhase",
};
const NAMES = ["knobs", "set", "rollback", "skip-batch", "replace", "stop", ...Object.keys(PLAIN)];
/** A monitor that has been away for this long is taken to be gone, ms. */
const LOST_MS = 15_000;
const WATCH_MS = 500;

/**
 * Prints the knobs of a run, or has it carry out a command and waits for the effect.
 * Errors: WEIR_E_USAGE for a command or arguments that are not understood; WEIR_E_MONITOR_CONNECTION.
 */
export async function controlCommand(
  run: string,
  command: string,
  values: readonly string[],
  options: ControlOptions = {},
): Promise<ExitCode> {
  const orders = command === "knobs" ? [] : ordersOf(command, values, options);
  const token = tokenFrom(options.tokenEnv);
  const target = await liveTarget(run);
  const client = await connectTarget(target, token);
  try {
    if (command === "knobs") {
      printKnobs(await boardOf(client), options.json ?? false);
      return 0;
    }
    let failed = false;
    for (const { name, args } of orders) {
      const text = await carriedOut(client, client.command(name, { args }));
      failed ||= text === null;
      if (text !== null) print(text);
    }
    return failed ? 1 : 0;
  } finally {
    client.close();
    await target.close();
  }
}

/** Waits for the effect; gives its text, or null after telling why there is none. Errors: WEIR_E_MONITOR_CONNECTION. */
async function carriedOut(client: MonitorClient, { ack, effect }: SentCommand): Promise<string | null> {
  const gone = watchConnection(client);
  try {
    const { accepted, reason } = await Promise.race([ack, gone.lost]);
    if (!accepted) {
      note(`refused: ${reason ?? "no reason given"}`);
      return null;
    }
    const { ok, text } = await Promise.race([effect, gone.lost]);
    if (ok) return text;
    note(`failed: ${text}`);
    return null;
  } finally {
    gone.stop();
  }
}

/** `lost` rejects once the monitor has not answered for a while. */
function watchConnection(client: MonitorClient): { readonly lost: Promise<never>; stop(): void } {
  let away = 0;
  let timer: NodeJS.Timeout | undefined;
  const lost = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      away = client.state.kind === "live" || client.state.kind === "catching-up" ? 0 : away + WATCH_MS;
      if (away < LOST_MS) return;
      reject(
        new WeirError(
          "WEIR_E_MONITOR_CONNECTION",
          "the run's monitor is gone; its process may have ended: look at the journal, and resume the run if it has not finished",
        ),
      );
    }, WATCH_MS);
  });
  lost.catch(() => undefined);
  return { lost, stop: () => clearInterval(timer) };
}

/** What a command line asks for. Errors: WEIR_E_USAGE. */
export function ordersOf(command: string, values: readonly string[], options: ControlOptions = {}): readonly Order[] {
  const { reason } = options;
  const why = reason === undefined ? {} : { reason };
  const plain = PLAIN[command];
  if (command === "set") {
    if (values.length === 0)
      throw usage(
        "set: expected PATH=VALUE, such as optimiser.learningRate=1e-4; `weir control RUN knobs` lists paths",
      );
    return values.map((text) => ({ name: "set", args: { ...settingOf(text), ...why } }));
  }
  if (command === "replace") {
    const [kind, name, ...more] = values;
    if (kind === undefined || name === undefined || more.length > 0)
      throw usage("replace: expected a kind of part and a name, such as: replace loss gspo");
    return [{ name: "replace", args: { kind, name } }];
  }
  if (values.length > 0) throw usage(`${command}: takes no values, got "${values.join(" ")}"`);
  if (command === "rollback") {
    const to = options.to === undefined ? {} : { toStep: wholeNumber("to", options.to) };
    return [{ name: "rollback", args: { ...to, ...why } }];
  }
  if (command === "skip-batch") return [{ name: "skipBatch", args: why }];
  if (command === "stop") return [{ name: "stop", args: options.abort ? { abort: true } : {} }];
  if (plain !== undefined) return [{ name: plain, args: {} }];
  const close = nearest(command, NAMES);
  throw usage(
    `there is no command "${command}"${close ? `; did you mean "${close}"?` : ""} (commands: ${NAMES.join(", ")})`,
  );
}

function settingOf(text: string): CommandArgs<"set"> {
  const at = text.indexOf("=");
  const [path, given] = [text.slice(0, at), text.slice(at + 1).trim()];
  const value = given === "null" ? null : Number(given);
  if (at < 1 || given === "" || Number.isNaN(value))
    throw usage(`set: expected PATH=VALUE with a number or null, got "${text}"`);
  return { path, value };
}

const usage = (text: string) => new WeirError("WEIR_E_USAGE", text, {});

/** The knobs as the monitor shows them now. Errors: WEIR_E_MONITOR_CONNECTION where it knows of none. */
function boardOf(client: MonitorClient): Promise<KnobBoard> {
  return new Promise((resolve, reject) => {
    client.subscribe("knobs", (event) => {
      const board = event.kind === "gap" ? undefined : event.items.at(-1);
      if (board) resolve(board);
      else
        reject(
          new WeirError("WEIR_E_MONITOR_CONNECTION", "this monitor tells nothing of knobs; it is of an earlier weir"),
        );
    });
  });
}

function printKnobs({ knobs, turns }: KnobBoard, json: boolean): void {
  if (json) {
    printJson({ knobs, turns });
    return;
  }
  table(
    ["knob", "now", "configured", "from", "to", "meaning"],
    knobs.map(({ path, value, configured, min, max, meaning }) => [
      ...[path, value ?? "null", configured ?? "null", min, max],
      meaning,
    ]),
  );
  for (const { path, old, new: now, by, step, reason } of turns)
    print(
      `after step ${step}: ${path} ${JSON.stringify(old)} → ${JSON.stringify(now)} by ${by.kind}${by.name === "" ? "" : ` ${by.name}`}${reason === null ? "" : `: ${reason}`}`,
    );
}

export function register(program: Command): void {
  program
    .command("control")
    .description("steer a run that is under way: turn knobs, roll back, skip a batch, replace a part, pause …")
    .argument("<run>", "run folder, or the address of its monitor")
    .argument(
      "<command>",
      "knobs | set PATH=VALUE … | rollback | skip-batch | replace KIND NAME | pause | resume | checkpoint | skip-phase | stop",
    )
    .argument("[values...]")
    .option("--to <step>", "rollback: last RL step that is to stay; all but the last one unless given")
    .option("--abort", "stop: at once, without a last checkpoint")
    .option("--reason <text>", "set, rollback, skip-batch: why, for the journal")
    .option("--token-env <name>", "environment variable that holds the monitor's token")
    .option("--json", "knobs: print JSON")
    .action(async (run: string, command: string, values: string[], options: ControlOptions) => {
      process.exitCode = await controlCommand(run, command, values, options);
    });
}
