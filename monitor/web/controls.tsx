import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { CommandName, CommandOptions, MonitorClient } from "../client/index.js";
import { type Store, useTopics } from "./store.js";

/** The buttons that steer the run. Each command shows pending, accepted or refused, and its effect. */

interface Props {
  readonly store: Store;
  readonly client: MonitorClient;
}

type Progress = "pending" | "accepted" | "done" | "failed";

interface Shown {
  readonly id: string;
  readonly name: CommandName;
  readonly progress: Progress;
  readonly text: string;
}

/** How long a finished command stays on the screen, ms. */
const SHOWN_MS = 6_000;

const VERBS: Readonly<Record<CommandName, string>> = {
  pause: "Pause",
  resume: "Resume",
  checkpoint: "Checkpoint",
  stop: "Stop",
  skipPhase: "Skip phase",
  set: "Set",
  rollback: "Roll back",
  skipBatch: "Skip batch",
  replace: "Replace part",
};

export function Controls({ store, client }: Props) {
  useTopics(store, "run", "connection");
  const [commands, setCommands] = useState<readonly Shown[]>([]);
  const dialog = useRef<HTMLDialogElement>(null);
  const timers = useRef(new Set<ReturnType<typeof setTimeout>>());
  useEffect(() => () => timers.current.forEach(clearTimeout), []);

  const { run, welcome, connection } = store;
  if (!run?.live) return null;
  if (welcome && welcome.role !== "operator") return <span class="role">view only</span>;
  const over = run.status === "completed" || run.status === "stopped" || run.status === "failed";
  const connected = connection.kind === "live" || connection.kind === "catching-up";
  const busy = (name: CommandName) =>
    commands.some((one) => one.name === name && (one.progress === "pending" || one.progress === "accepted"));

  const put = (shown: Shown) => {
    setCommands((all) => [...all.filter((one) => one.id !== shown.id), shown].slice(-4));
    if (shown.progress !== "done" && shown.progress !== "failed") return;
    const timer = setTimeout(() => {
      timers.current.delete(timer);
      setCommands((all) => all.filter((one) => one.id !== shown.id));
    }, SHOWN_MS);
    timers.current.add(timer);
  };

  const send = async (name: CommandName, options: CommandOptions = {}) => {
    const sent = client.command(name, options);
    const show = (progress: Progress, text: string) => put({ id: sent.id, name, progress, text });
    show("pending", "sent …");
    try {
      const ack = await sent.ack;
      if (!ack.accepted) return show("failed", `refused: ${ack.reason ?? "no reason given"}`);
      show("accepted", "accepted, takes effect at the next safe point …");
      const effect = await sent.effect;
      show(effect.ok ? "done" : "failed", effect.text);
    } catch (error) {
      show("failed", error instanceof Error ? error.message : String(error));
    }
  };

  const button = (name: CommandName, title: string, action: () => void = () => void send(name)) => (
    <button
      type="button"
      data-command={name}
      class={busy(name) ? "busy" : ""}
      disabled={over || !connected || busy(name)}
      title={title}
      onClick={action}
    >
      {VERBS[name]}
    </button>
  );

  return (
    <div class="controls">
      {run.status === "paused"
        ? button("resume", "Go on where the run was paused")
        : button("pause", "Pause at the next safe point")}
      {button("checkpoint", "Write a checkpoint at the next safe point")}
      {button("stop", "Stop the run", () => dialog.current?.showModal())}
      <div class="toasts" role="status" aria-live="polite">
        {commands.map((one) => (
          <p key={one.id} class={`toast ${one.progress}`}>
            <b>{VERBS[one.name]}</b> {one.text}
          </p>
        ))}
      </div>
      <StopDialog dialog={dialog} stop={(abort) => void send("stop", abort ? { args: { abort } } : {})} />
    </div>
  );
}

/** Asks how to stop: after the current step, or at once. */
function StopDialog(props: {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  readonly stop: (abort: boolean) => void;
}) {
  const { dialog, stop } = props;
  return (
    <dialog ref={dialog} aria-labelledby="stop-title">
      <form method="dialog">
        <h2 id="stop-title">Stop the run?</h2>
        <p>
          <b>Drain</b> finishes the current step, writes a checkpoint and ends; the run can be resumed. <b>Abort</b>{" "}
          ends at once; work since the last checkpoint is lost.
        </p>
        <footer>
          <button type="submit">Keep running</button>
          <button type="submit" class="danger" onClick={() => stop(true)}>
            Abort
          </button>
          <button type="submit" class="primary" onClick={() => stop(false)}>
            Drain and stop
          </button>
        </footer>
      </form>
    </dialog>
  );
}
