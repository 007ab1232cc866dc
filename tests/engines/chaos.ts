/**
 * Kills and stops at random moments of a run: of its servers, of workers, and of the control plane itself. What is killed is started
 * again; the run has to go on by itself, or after a resume where the control plane was killed, and to end with every rollout in one
 * end state.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { counterKey, uniform } from "../../src/algorithms/random.js";
import { endStates, TINY_CHOICE, type TinyChoice } from "../e2e/tiny-run.js";
import type { ServerProcess } from "./server-process.js";

const DRIVER = fileURLToPath(new URL("../e2e/driver.ts", import.meta.url));

export interface Chaos {
  readonly choice: TinyChoice;
  /** What can be killed besides the control plane, by name. */
  readonly victims: Readonly<Record<string, ServerProcess>>;
  readonly kills: number;
  readonly seed: number;
  /** Rollouts that a whole run trains on. */
  readonly rollouts: number;
  readonly folder: string;
  readonly say: (line: string) => void;
}

/** One blow, and what the run had told last when it fell. */
export interface Blow {
  readonly victim: string;
  readonly how: "killed" | "stopped";
  readonly after: string;
}

export interface ChaosResult {
  readonly blows: readonly Blow[];
  /** Runs that were needed for so many blows; each came to its end. */
  readonly runs: number;
  /** Times that a run paused because a server was away. */
  readonly pauses: number;
  /** Restores of a checkpoint because a server had lost its state. */
  readonly restores: number;
}

/** A run makes a step in a second or two; blows fall while it is at work. */
const LONGEST_WAIT_MS = 6_000;
const LONGEST_ABSENCE_MS = 8_000;
/** A run that is left alone has to end within this, ms. */
const END_MS = 600_000;

class Control {
  readonly lines: string[] = [];
  private child: ChildProcess;
  private said = "";
  ended: Promise<void>;
  running = true;

  constructor(args: readonly string[], choice: TinyChoice) {
    this.child = spawn(process.execPath, ["--import", "tsx", DRIVER, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, [TINY_CHOICE]: JSON.stringify(choice) },
    });
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on("line", (line) => this.lines.push(line));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.said = (this.said + text).slice(-4_000);
    });
    this.ended = new Promise((resolve) => {
      this.child.on("exit", () => {
        this.running = false;
        resolve();
      });
    });
  }

  get done(): boolean {
    return this.lines.at(-1)?.startsWith("done") ?? false;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Errors: with what it said where it ended by itself without being done. */
  assertAlive(): void {
    if (!this.running && !this.done)
      throw new Error(`the run ended before its end, after ${this.lines.slice(-3).join(", ")}: ${this.said}`);
  }
}

/** Errors: where a run does not come to its end, or a rollout is lost or counted twice. */
export async function chaos(options: Chaos): Promise<ChaosResult> {
  const { kills, seed, folder } = options;
  const draw = (purpose: string, n: number) => uniform(counterKey(seed, "chaos", purpose), n);
  const blows: Blow[] = [];
  let [runs, pauses, restores] = [0, 0, 0];
  while (blows.length < kills) {
    const place = mkdtempSync(join(folder, "chaos-"));
    mkdirSync(join(place, "runs"));
    const run = join(place, "runs", "tiny");
    let control = new Control([place], options.choice);
    while (!control.done) {
      await Promise.race([control.ended, wait(500 + draw("wait", blows.length) * LONGEST_WAIT_MS)]);
      control.assertAlive();
      if (control.done) break;
      if (blows.length >= kills) {
        await Promise.race([control.ended, wait(END_MS)]);
        control.assertAlive();
        if (!control.done) throw new Error(`the run is still at ${control.lines.at(-1)} after ${END_MS} ms`);
        break;
      }
      // Before a run folder is there, nothing can be resumed.
      if (!control.lines.some((line) => line.startsWith("run."))) continue;
      control = await strike(options, control, run, blows, draw);
    }
    runs += 1;
    await assertWhole(run, options.rollouts);
    const facts = journalOf(run);
    pauses += facts.filter(({ type, data }) => type === "lifecycle.changed" && data.value === "paused").length;
    restores += facts.filter(({ type }) => type === "run.resumed").length;
    options.say(`run ${runs} is whole after ${blows.length} blows`);
  }
  return { blows, runs, pauses, restores };
}

/** One blow. Resolves to the control plane: a new one where it was the victim. */
async function strike(
  { victims, choice, say }: Chaos,
  control: Control,
  run: string,
  blows: Blow[],
  draw: (purpose: string, n: number) => number,
): Promise<Control> {
  const n = blows.length;
  const names = ["control plane", ...Object.keys(victims)];
  const victim = names[Math.floor(draw("victim", n) * names.length)] as string;
  const how = draw("how", n) < 0.7 ? "killed" : "stopped";
  const absence = draw("absence", n) * LONGEST_ABSENCE_MS;
  blows.push({ victim, how, after: control.lines.at(-1) ?? "the start" });
  say(`blow ${n + 1}: ${victim} is ${how} for ${Math.round(absence)} ms after "${blows.at(-1)?.after}"`);
  const server = victims[victim];
  const target = server ?? control;
  if (how === "stopped") {
    target.signal("SIGSTOP");
    await wait(absence);
    target.signal("SIGCONT");
    return control;
  }
  await target.kill();
  await wait(absence);
  if (server === undefined) return control.done ? control : new Control(["--resume", run], choice);
  await server.start();
  return control;
}

interface JournalFact {
  readonly type: string;
  readonly data: { readonly value?: unknown };
}

const journalOf = (run: string): JournalFact[] =>
  readFileSync(join(run, "journal.ndjson"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as JournalFact);

/** Errors: where a rollout has no end state or two, or others were trained on than those of the run's steps. */
async function assertWhole(run: string, rollouts: number): Promise<void> {
  const ends = [...(await endStates(run)).values()];
  const trained = ends.filter((end) => end === "trained").length;
  if (trained !== rollouts) throw new Error(`${trained} rollouts were trained on, ${rollouts} are expected`);
}
