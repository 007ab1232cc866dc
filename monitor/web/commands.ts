import type { CommandName, CommandOptions, MonitorClient } from "../client/index.js";
import type { Store } from "./store.js";

/** The commands that this page has sent: each is pending, accepted or refused, and has its effect; for all buttons alike. */

export type Progress = "pending" | "accepted" | "done" | "failed";

export interface Shown {
  readonly id: string;
  readonly name: CommandName;
  /** What it is about, such as the path of a knob; empty where the name says all. */
  readonly about: string;
  readonly progress: Progress;
  readonly text: string;
}

/** How long a finished command stays on the screen, ms. */
const SHOWN_MS = 6_000;
/** Commands on the screen. */
const MOST = 4;

export const VERBS: Readonly<Record<CommandName, string>> = {
  pause: "Pause",
  resume: "Resume",
  checkpoint: "Checkpoint",
  stop: "Stop",
  skipPhase: "Next phase",
  set: "Set",
  rollback: "Roll back",
  skipBatch: "Skip batch",
  replace: "Replace part",
};

export class Commands {
  shown: readonly Shown[] = [];

  constructor(
    private readonly client: MonitorClient,
    private readonly store: Store,
  ) {}

  /** Whether such a command is on its way. */
  busy(name: CommandName, about = ""): boolean {
    return this.shown.some(
      (one) => one.name === name && one.about === about && (one.progress === "pending" || one.progress === "accepted"),
    );
  }

  /** Sends a command; resolves once it has had its effect or failed. Never rejects. */
  async send(name: CommandName, options: CommandOptions = {}, about = ""): Promise<void> {
    const sent = this.client.command(name, options);
    const show = (progress: Progress, text: string) => this.put({ id: sent.id, name, about, progress, text });
    show("pending", "sent …");
    try {
      const ack = await sent.ack;
      if (!ack.accepted) {
        // Its effect never comes.
        sent.effect.catch(() => {});
        show("failed", `refused: ${ack.reason ?? "no reason given"}`);
        return;
      }
      show("accepted", "accepted, takes effect at the next safe point …");
      const effect = await sent.effect;
      show(effect.ok ? "done" : "failed", effect.text);
    } catch (error) {
      show("failed", error instanceof Error ? error.message : String(error));
    }
  }

  private put(shown: Shown): void {
    this.shown = [...this.shown.filter((one) => one.id !== shown.id), shown].slice(-MOST);
    this.store.touch("commands");
    if (shown.progress !== "done" && shown.progress !== "failed") return;
    setTimeout(() => {
      this.shown = this.shown.filter((one) => one.id !== shown.id);
      this.store.touch("commands");
    }, SHOWN_MS);
  }
}

/** Whether this page may steer the run now; null where there is nothing to steer. */
export function mayCommand({ run, welcome, connection }: Store): boolean | null {
  if (!run?.live || (welcome && welcome.role !== "operator")) return null;
  const over = run.status === "completed" || run.status === "stopped" || run.status === "failed";
  return !over && (connection.kind === "live" || connection.kind === "catching-up");
}
