import { BEHAVIOURS, type Behaviour, type BehaviourCounts, type BehaviourSpan } from "../../src/contracts/behaviour.js";

/** Behaviours in a response: which tokens are marked, and the legend that leads from one instance to the next. */

const LABELS: Readonly<Record<Behaviour, string>> = {
  grounding: "grounding",
  subgoal_setting: "subgoal setting",
  backtracking: "backtracking",
  verification: "verification",
};

/** How a token is marked. */
export interface Mark {
  /** Classes, each with a space before it. Where spans overlap, the one that began last is drawn. */
  readonly css: string;
  /** For people. */
  readonly names: string;
}

/** Marks by token; tokens outside of spans have none. */
export function marksOf(spans: readonly BehaviourSpan[]): ReadonlyMap<number, Mark> {
  const marks = new Map<number, Mark>();
  for (const { behaviour, start, end } of spans)
    for (let token = start; token < end; token++) {
      const before = marks.get(token)?.names;
      const names = before === undefined ? LABELS[behaviour] : `${before}, ${LABELS[behaviour]}`;
      marks.set(token, { css: ` b-${behaviour}`, names });
    }
  return marks;
}

/** The span of a behaviour behind the selected token; the first one behind the last. */
export function nextSpan(
  spans: readonly BehaviourSpan[],
  behaviour: Behaviour,
  selected: number | null,
): BehaviourSpan | undefined {
  const own = spans.filter((span) => span.behaviour === behaviour);
  return own.find(({ start }) => selected !== null && start > selected) ?? own[0];
}

interface Props {
  readonly spans: readonly BehaviourSpan[];
  readonly judged: BehaviourCounts | null;
  readonly selected: number | null;
  readonly select: (token: number) => void;
}

/** Each behaviour with the line that marks it and its count; a button goes to its next instance. */
export function BehaviourLegend({ spans, judged, selected, select }: Props) {
  if (spans.length === 0 && judged === null) return null;
  return (
    <ul class="behaviours" aria-label="Behaviours" data-testid="behaviours">
      {BEHAVIOURS.map((behaviour) => {
        const count = spans.filter((span) => span.behaviour === behaviour).length;
        const judge = judged === null ? "" : `, judge ${judged[behaviour]}`;
        return (
          <li key={behaviour}>
            <button
              type="button"
              class="link"
              disabled={count === 0}
              title={`Go to the next sentence with ${LABELS[behaviour]}`}
              onClick={() => {
                const next = nextSpan(spans, behaviour, selected);
                if (next) select(next.start);
              }}
            >
              <span class={`b-${behaviour}`}>{LABELS[behaviour]}</span> {count}
              {judge}
            </button>
          </li>
        );
      })}
    </ul>
  );
}
