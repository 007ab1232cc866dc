import type { RefObject } from "preact";
import { useRef, useState } from "preact/hooks";
import type { CommandName, KnobState, ListedTurn } from "../client/index.js";
import { type Commands, mayCommand, VERBS } from "./commands.js";
import { formatClock, formatNumber } from "./format.js";
import { type Store, useTopics } from "./store.js";

/** The options that can be changed while the run goes on: their values, who turned them, and the other ways to step in. */

interface Props {
  readonly store: Store;
  readonly commands: Commands;
}

/** Turns listed under the knobs. */
const TURNS = 50;

export function Knobs({ store, commands }: Props) {
  useTopics(store, "knobs", "run", "connection", "commands");
  const { board } = store;
  const may = mayCommand(store);
  if (!board || (board.knobs.length === 0 && board.turns.length === 0 && may === null)) return null;
  const turns = board.turns.slice(-TURNS).toReversed();
  return (
    <section class="card panel knobs" aria-label="Knobs">
      <header>
        <h3>Knobs</h3>
        <span class="unit">{may === null ? "as they were set last" : "turned at the next safe point"}</span>
      </header>
      {board.knobs.map((knob) => (
        <Knob key={knob.path} knob={knob} may={may} commands={commands} />
      ))}
      {may === null ? null : <Interventions store={store} commands={commands} may={may} />}
      <h4>
        Turned <span class="unit">{board.turnCount === 0 ? "" : board.turnCount}</span>
      </h4>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ol class="turns" tabIndex={0} aria-label="Turns of knobs, newest first">
        {turns.length === 0 ? <li class="nothing">never</li> : null}
        {turns.map((turn, i) => (
          <Turn key={`${turn.time}-${turns.length - i}`} turn={turn} />
        ))}
      </ol>
    </section>
  );
}

function Turn({ turn }: { readonly turn: ListedTurn }) {
  return (
    <li>
      <time>{formatClock(turn.time)}</time> <b>{turn.path}</b> {shown(turn.old)} → {shown(turn.new)}{" "}
      <span class="muted">
        · step {turn.step} · {initiator(turn.by)}
        {turn.reason ? ` · ${turn.reason}` : ""}
      </span>
    </li>
  );
}

/** "guard kl_limit", "operator at 127.0.0.1", "program" */
export const initiator = ({ kind, name }: ListedTurn["by"]): string =>
  name === "" ? kind : name.startsWith(kind) ? name : `${kind} ${name}`;
/** A knob's value as it is read: null is the option's own default. */
export const shown = (value: unknown): string =>
  typeof value === "number" ? plain(value) : value === null ? "default" : JSON.stringify(value);
/** All digits of a setting: rounding would hide a change. */
const plain = (value: number): string => String(value).replace("-", "−");

function Knob(props: { readonly knob: KnobState; readonly may: boolean | null; readonly commands: Commands }) {
  const { knob, may, commands } = props;
  const [draft, setDraft] = useState<string | null>(null);
  const { path, value, configured, min, max, unit } = knob;
  const text = value === null ? "" : String(value);
  const number = draft === null || draft.trim() === "" ? null : Number(draft);
  const wrong = number !== null && (!(number >= min && number <= max) || (knob.integer && !Number.isInteger(number)));
  const changed = draft !== null && draft.trim() !== text;
  const send = () => {
    setDraft(null);
    void commands.send("set", { args: { path, value: number } }, path);
  };
  const bounds = `${knob.integer ? "whole number, " : ""}${formatNumber(min)} to ${formatNumber(max)}`;
  return (
    <form
      class="knob"
      data-knob={path}
      onSubmit={(event) => {
        event.preventDefault();
        if (changed && !wrong && may) send();
      }}
    >
      <label for={`knob-${path}`} title={knob.meaning}>
        {path}
      </label>
      {may === null ? (
        <output id={`knob-${path}`}>{shown(value)}</output>
      ) : (
        <>
          <input
            id={`knob-${path}`}
            type="text"
            inputMode="decimal"
            placeholder="default"
            title={`${knob.meaning} ${bounds}${unit ? `, ${unit}` : ""}.`}
            aria-invalid={wrong}
            disabled={!may || commands.busy("set", path)}
            value={draft ?? text}
            onInput={(event) => setDraft(event.currentTarget.value)}
            onKeyDown={(event) => event.key === "Escape" && setDraft(null)}
          />
          <button type="submit" class={commands.busy("set", path) ? "busy" : ""} disabled={!changed || wrong || !may}>
            Set
          </button>
        </>
      )}
      <span class="note">
        {wrong
          ? `expected ${bounds}`
          : value === configured
            ? unit
            : `${unit ? `${unit} · ` : ""}configured ${shown(configured)}`}
      </span>
    </form>
  );
}

/** Rollback, the next batch, the next phase, another part. */
function Interventions({ store, commands, may }: Props & { readonly may: boolean }) {
  const back = useRef<HTMLDialogElement>(null);
  const part = useRef<HTMLDialogElement>(null);
  const button = (name: CommandName, title: string, label: string, onClick: () => void) => (
    <button
      type="button"
      data-command={name}
      class={commands.busy(name) ? "busy" : ""}
      disabled={!may || commands.busy(name)}
      title={title}
      onClick={onClick}
    >
      {label}
    </button>
  );
  const atOnce = (name: "skipBatch" | "skipPhase", title: string) =>
    button(name, title, VERBS[name], () => void commands.send(name));
  return (
    <div class="interventions">
      {button("rollback", "Take weights, moments and curriculum back to a snapshot", "Roll back …", () =>
        back.current?.showModal(),
      )}
      {atOnce("skipBatch", "The batch of the next step changes no weight")}
      {atOnce("skipPhase", "End the present phase after this step")}
      {button("replace", "Put another registered part in use", "Replace part …", () => part.current?.showModal())}
      <RollbackDialog dialog={back} step={store.run?.step ?? 0} commands={commands} />
      <ReplaceDialog dialog={part} commands={commands} />
    </div>
  );
}

function RollbackDialog(props: {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  readonly step: number;
  readonly commands: Commands;
}) {
  const { dialog, step, commands } = props;
  const [to, setTo] = useState("");
  const wrong = to.trim() !== "" && !(Number.isInteger(Number(to)) && Number(to) >= 0 && Number(to) <= step);
  const go = () => void commands.send("rollback", to.trim() === "" ? {} : { args: { toStep: Number(to) } });
  return (
    <dialog ref={dialog} aria-labelledby="rollback-title">
      <form method="dialog">
        <h2 id="rollback-title">Roll back the run?</h2>
        <p>
          Weights, moments, curriculum, pool and knobs become those of a snapshot; the steps after it are trained anew
          on other batches. Journal and ledger go on. The run is at step {step}.
        </p>
        <label class="field">
          to the end of step{" "}
          <input
            type="text"
            inputMode="numeric"
            placeholder="newest good one"
            aria-invalid={wrong}
            value={to}
            onInput={(event) => setTo(event.currentTarget.value)}
          />
        </label>
        <footer>
          <button type="submit">Keep the run as it is</button>
          <button type="submit" class="danger" disabled={wrong} onClick={go}>
            Roll back
          </button>
        </footer>
      </form>
    </dialog>
  );
}

/** Kinds of part that a run can replace. */
const KINDS = ["loss", "advantage", "reward", "filter", "curriculum", "guard", "judge", "sampler"];

function ReplaceDialog(props: { readonly dialog: RefObject<HTMLDialogElement | null>; readonly commands: Commands }) {
  const { dialog, commands } = props;
  const [kind, setKind] = useState("loss");
  const [name, setName] = useState("");
  return (
    <dialog ref={dialog} aria-labelledby="replace-title">
      <form method="dialog">
        <h2 id="replace-title">Replace a part</h2>
        <p>The part is put in use at the next safe point; its predecessor's state goes over where both have one.</p>
        <label class="field">
          kind{" "}
          <select value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
            {KINDS.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label class="field">
          registered name <input type="text" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <footer>
          <button type="submit">Keep the part</button>
          <button
            type="submit"
            class="primary"
            disabled={name.trim() === ""}
            onClick={() =>
              void commands.send("replace", { args: { kind, name: name.trim() } }, `${kind} ${name.trim()}`)
            }
          >
            Replace
          </button>
        </footer>
      </form>
    </dialog>
  );
}
