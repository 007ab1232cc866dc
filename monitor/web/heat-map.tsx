import { useEffect, useMemo, useRef } from "preact/hooks";
import type { BehaviourCounts, BehaviourSpan } from "../../src/contracts/behaviour.js";
import type { TraceToken } from "../../src/contracts/trace.js";
import { BehaviourLegend, marksOf } from "./behaviours.js";
import { formatNumber } from "./format.js";
import { hottest, MEASURES, type Measure, measuresOf, SHADES, shadeClass } from "./heat.js";
import { isTyping, useKeys } from "./keys.js";
import type { ViewState } from "./view.js";

/** A response with a shade on each token, the legend of the shades, and all numbers of the selected token. */

interface Props {
  readonly tokens: readonly TraceToken[];
  readonly text: string;
  readonly behaviours: readonly BehaviourSpan[];
  readonly judgedBehaviours: BehaviourCounts | null;
  readonly view: ViewState;
}

/** Tokens that "next hottest" goes through. */
const HOTTEST = 20;

export function HeatMap({ tokens, text, behaviours, judgedBehaviours, view }: Props) {
  const choices = useMemo(() => measuresOf(tokens), [tokens]);
  const wanted = view.current.shade ?? "surprise";
  const measure = wanted === "none" ? null : (choices.find(({ id }) => id === wanted) ?? choices[0] ?? null);
  const ranked = useMemo(() => (measure ? hottest(measure, tokens) : []), [measure, tokens]);
  const full = useMemo(() => (measure ? measure.full(placesOf(measure, tokens)) : 1), [measure, tokens]);
  const marks = useMemo(() => marksOf(behaviours), [behaviours]);
  const box = useRef<HTMLPreElement>(null);
  const { token: selected } = view.current;
  const select = (token: number | null) => view.set({ token });

  useEffect(() => {
    const span = selected === null ? null : box.current?.children[selected];
    span?.scrollIntoView({ block: "nearest" });
  }, [selected, tokens]);

  const goHot = useNextHottest(ranked, selected, select);
  const move = (event: KeyboardEvent) => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0 || tokens.length === 0) return;
    event.preventDefault();
    select(Math.max(0, Math.min(tokens.length - 1, (selected ?? -1) + by)));
  };
  const pick = (event: MouseEvent) => {
    const index = (event.target as HTMLElement).dataset.token;
    // Whoever selects text does not want a token.
    if (index !== undefined && getSelection()?.isCollapsed !== false) select(Number(index));
  };

  return (
    <>
      <h5>
        Response
        <Shading choices={choices} measure={measure} view={view} />
        {measure ? <Legend measure={measure} full={full} goHot={goHot} /> : null}
      </h5>
      <BehaviourLegend spans={behaviours} judged={judgedBehaviours} selected={selected} select={select} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <pre class="completion" ref={box} tabIndex={0} title="Arrow keys select a token" onClick={pick} onKeyDown={move}>
        {tokens.length === 0
          ? text
          : tokens.map((token, i) => (
              <span
                key={`${i.toString()}`}
                data-token={i}
                class={`${measure ? shadeClass(measure, measure.read(token), full) : "h0"}${marks.get(i)?.css ?? ""}${selected === i ? " hot" : ""}`}
                title={[measure ? `${measure.label} ${valueText(measure, token)}` : "", marks.get(i)?.names ?? ""]
                  .filter((part) => part !== "")
                  .join("; ")}
              >
                {token.text}
              </span>
            ))}
      </pre>
      <TokenNumbers
        tokens={tokens}
        selected={selected}
        behaviours={selected === null ? null : (marks.get(selected)?.names ?? null)}
      />
    </>
  );
}

interface ShadingProps {
  readonly choices: readonly Measure[];
  /** Null without shades. */
  readonly measure: Measure | null;
  readonly view: ViewState;
}

/** Chooses what the shades stand for. */
function Shading({ choices, measure, view }: ShadingProps) {
  return (
    <fieldset class="choice">
      <legend class="hidden">Shading</legend>
      {[...choices, null].map((choice) => (
        <label key={choice?.id ?? "none"} title={choice?.meaning ?? "no shading"}>
          <input
            type="radio"
            name="shading"
            checked={measure === choice}
            onChange={() => view.set({ shade: choice?.id ?? "none" })}
          />
          <span>{choice?.label ?? "none"}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Goes to the next of the hottest tokens, also by the key `n`. */
function useNextHottest(
  ranked: readonly number[],
  selected: number | null,
  select: (token: number) => void,
): () => void {
  const rank = useRef(0);
  const goHot = () => {
    // Whoever has looked elsewhere since begins at the hottest again.
    const goesOn = selected !== null && ranked[rank.current] === selected;
    rank.current = goesOn ? (rank.current + 1) % Math.min(HOTTEST, ranked.length) : 0;
    const next = ranked[rank.current];
    if (next !== undefined) select(next);
  };
  useKeys((event) => {
    if (event.key === "n" && !event.ctrlKey && !event.metaKey && !isTyping(event.target)) goHot();
  });
  return goHot;
}

const placesOf = (measure: Measure, tokens: readonly TraceToken[]): readonly number[] =>
  tokens.flatMap((token) => {
    const value = measure.read(token);
    return value === null || Number.isNaN(value) ? [] : [measure.place(value)];
  });

function valueText(measure: Measure, token: TraceToken): string {
  const value = measure.read(token);
  if (value === null) return "not measured";
  return `${formatNumber(value)}${measure.unit ? ` ${measure.unit}` : ""}`;
}

/** The shades with the values that they stand for. */
function Legend(props: { readonly measure: Measure; readonly full: number; readonly goHot: () => void }) {
  const { measure, full, goHot } = props;
  const unit = measure.unit ? ` ${measure.unit}` : "";
  const shades = Array.from({ length: SHADES }, (_, i) => i + 1);
  return (
    <span class="scale">
      {measure.scale === "both-ways" ? (
        <>
          {formatNumber(measure.at(-full))}
          {shades.toReversed().map((shade) => (
            <i key={`m${shade}`} class={`m${shade}`} />
          ))}
        </>
      ) : null}
      <b>{formatNumber(measure.at(0))}</b>
      {shades.map((shade) => (
        <i key={`h${shade}`} class={`h${shade}`} />
      ))}
      {formatNumber(measure.at(full))}
      {unit}
      <button type="button" class="link" onClick={goHot}>
        next hottest (n)
      </button>
    </span>
  );
}

/** Every quantity of a token, with its unit. */
function TokenNumbers({
  tokens,
  selected,
  behaviours,
}: {
  readonly tokens: readonly TraceToken[];
  readonly selected: number | null;
  readonly behaviours: string | null;
}) {
  const token = selected === null ? undefined : tokens[selected];
  if (!token) return tokens.length > 0 ? <p class="token-numbers muted">Select a token for its numbers.</p> : null;
  return (
    <dl class="token-numbers" aria-live="polite" data-testid="token-numbers">
      <div>
        <dt>token {selected}</dt>
        <dd>
          <code>{JSON.stringify(token.text)}</code> <span class="muted">id {token.id}</span>
        </dd>
      </div>
      <div>
        <dt>p</dt>
        <dd>{formatNumber(Math.exp(token.logprob))}</dd>
      </div>
      {behaviours === null ? null : (
        <div>
          <dt>behaviour</dt>
          <dd>{behaviours}</dd>
        </div>
      )}
      {MEASURES.map((measure) =>
        measure.read(token) === null ? null : (
          <div key={measure.id} title={measure.meaning}>
            <dt>{measure.label}</dt>
            <dd>{valueText(measure, token)}</dd>
          </div>
        ),
      )}
    </dl>
  );
}
