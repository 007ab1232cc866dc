import type { RefObject } from "preact";
import { useRef } from "preact/hooks";
import type { CommandName } from "../client/index.js";
import { type Commands, mayCommand, VERBS } from "./commands.js";
import { type Store, useTopics } from "./store.js";

/** The buttons that steer the run, and what became of the commands that were sent. */

interface Props {
  readonly store: Store;
  readonly commands: Commands;
}

export function Controls({ store, commands }: Props) {
  useTopics(store, "run", "connection", "commands");
  const dialog = useRef<HTMLDialogElement>(null);
  const { run, welcome } = store;
  if (!run?.live) return null;
  if (welcome && welcome.role !== "operator") return <span class="role">view only</span>;
  const may = mayCommand(store) === true;

  const button = (name: CommandName, title: string, action: () => void = () => void commands.send(name)) => (
    <button
      type="button"
      data-command={name}
      class={commands.busy(name) ? "busy" : ""}
      disabled={!may || commands.busy(name)}
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
        {commands.shown.map((one) => (
          <p key={one.id} class={`toast ${one.progress}`}>
            <b>
              {VERBS[one.name]} {one.about}
            </b>{" "}
            {one.text}
          </p>
        ))}
      </div>
      <StopDialog dialog={dialog} stop={(abort) => void commands.send("stop", abort ? { args: { abort } } : {})} />
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
