import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MonitorClient, TracePart, TraceSummary } from "../client/index.js";
import { formatNumber } from "./format.js";
import { Reward, signed } from "./reward.js";
import type { Store } from "./store.js";
import type { ViewState } from "./view.js";

/**
 * One rollout in full: prompt, response, reward, and the log-prob and entropy of each token.
 * Model output is shown as text nodes only.
 */

interface Props {
  readonly id: string;
  readonly store: Store;
  readonly client: MonitorClient;
  readonly view: ViewState;
  readonly choose: (id: string) => void;
}

type Head = Extract<TracePart, { part: "head" }>["trace"];

interface Token {
  readonly text: string;
  readonly id: number;
  readonly logprob: number;
  /** Null where the sampler gives no entropies. */
  readonly entropy: number | null;
}

interface Whole {
  readonly head: Head;
  readonly prompt: string;
  readonly tokens: readonly Token[];
}

const MEASURES = ["surprise", "entropy", "none"] as const;
type Measure = (typeof MEASURES)[number];

/** Shades of the heat-map; the style sheet has one class for each. */
const SHADES = 9;
/** Nats at the strongest shade: a token of probability 0.05, and a choice between twenty equally likely tokens. */
const FULL_SCALE: Readonly<Record<Exclude<Measure, "none">, number>> = { surprise: 3, entropy: 3 };

export function TraceDetail({ id, store, client, view, choose }: Props) {
  const [whole, setWhole] = useState<Whole | null>(null);
  const [missing, setMissing] = useState<string | null>(null);
  const [measure, setMeasure] = useState<Measure>("surprise");

  useEffect(
    () =>
      client.subscribe(
        `trace/${id}`,
        (event) => {
          if (event.kind === "snapshot") setWhole(assemble(event.items));
          else if (event.kind === "gap") setMissing(event.reason);
        },
        view.current.traceStep === null ? {} : { step: view.current.traceStep },
      ),
    [id, client],
  );

  if (!whole)
    return (
      <article class="detail" aria-label={`Trace ${id}`}>
        <p class="nothing" role="status">
          {missing ?? "loading …"}
        </p>
        <button type="button" class="ghost" onClick={() => view.set({ trace: null })}>
          Close
        </button>
      </article>
    );
  const { head, prompt, tokens } = whole;
  const siblings = store.traces.filter((trace) => trace.groupId === head.groupId);
  return (
    <article class="detail" aria-label={`Trace ${id}`} data-testid="trace-detail">
      <header>
        <h4>{head.taskId}</h4>
        <span class="muted">
          {head.source} · step {head.step} · phase {head.phase} · sample {head.sampleIndex} · policy{" "}
          {head.policyVersion}
        </span>
        <span class="spacer" />
        <button type="button" class="ghost" onClick={() => void navigator.clipboard?.writeText(JSON.stringify(whole))}>
          Copy JSON
        </button>
        <button type="button" class="ghost" aria-label="Close trace" onClick={() => view.set({ trace: null })}>
          ✕
        </button>
      </header>
      <Facts head={head} sampledTokens={tokens.length} />
      {siblings.length > 1 ? <Siblings siblings={siblings} id={id} choose={choose} /> : null}
      <Completion tokens={tokens} text={head.completion} measure={measure} setMeasure={setMeasure} />
      <h5>Prompt</h5>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <pre class="prompt" tabIndex={0}>
        {prompt}
      </pre>
    </article>
  );
}

/** Reward, advantage, lengths, the parts of the reward, and the answers. */
function Facts({ head, sampledTokens }: { readonly head: Head; readonly sampledTokens: number }) {
  return (
    <dl class="facts">
      <div>
        <dt>reward</dt>
        <dd>
          <Reward trace={{ outcome: head.outcome.kind, reward: head.reward }} />
        </dd>
      </div>
      <div>
        <dt>advantage</dt>
        <dd>{head.advantage === null ? "–" : signed(head.advantage)}</dd>
      </div>
      <div>
        <dt>tokens</dt>
        <dd>
          {head.promptTokens} + {sampledTokens}
        </dd>
      </div>
      <div>
        <dt>ended by</dt>
        <dd>{head.finish}</dd>
      </div>
      {head.outcome.kind === "scored" ? (
        <>
          <div>
            <dt>before shaping</dt>
            <dd>{formatNumber(head.outcome.value)}</dd>
          </div>
          {Object.entries(head.outcome.parts).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{formatNumber(value)}</dd>
            </div>
          ))}
          <div class="wide">
            <dt>parsed answer</dt>
            <dd>{head.outcome.prediction ?? "none found"}</dd>
          </div>
        </>
      ) : (
        <div class="wide">
          <dt>{head.outcome.kind}</dt>
          <dd>{head.outcome.reason}</dd>
        </div>
      )}
      <div class="wide">
        <dt>gold answer</dt>
        <dd>{head.goldAnswer}</dd>
      </div>
    </dl>
  );
}

/** The other responses of the group, each by its reward. */
function Siblings(props: {
  readonly siblings: readonly TraceSummary[];
  readonly id: string;
  readonly choose: (id: string) => void;
}) {
  const { siblings, id, choose } = props;
  return (
    <nav class="group" aria-label="Group">
      <span class="muted">group</span>
      {siblings
        .toSorted((a, b) => a.sampleIndex - b.sampleIndex)
        .map((trace) => (
          <button
            key={trace.id}
            type="button"
            class="plain"
            aria-current={trace.id === id}
            title={`sample ${trace.sampleIndex}`}
            onClick={() => choose(trace.id)}
          >
            <Reward trace={trace} />
          </button>
        ))}
    </nav>
  );
}

function Completion(props: {
  readonly tokens: readonly Token[];
  readonly text: string;
  readonly measure: Measure;
  readonly setMeasure: (measure: Measure) => void;
}) {
  const { tokens, text, setMeasure } = props;
  const choices = MEASURES.filter((one) => one !== "entropy" || tokens.some(({ entropy }) => entropy !== null));
  const measure = choices.includes(props.measure) ? props.measure : "surprise";
  const box = useRef<HTMLPreElement>(null);
  const [hot, setHot] = useState(-1);
  const value = (token: Token) => (measure === "entropy" ? (token.entropy ?? 0) : -token.logprob);
  const ranked = useMemo(
    () => tokens.map((_, i) => i).sort((a, b) => value(tokens[b] as Token) - value(tokens[a] as Token)),
    [tokens, measure],
  );
  const goHot = () => {
    const next = (hot + 1) % Math.max(1, Math.min(20, ranked.length));
    setHot(next);
    const span = box.current?.children[ranked[next] ?? 0];
    span?.scrollIntoView({ block: "nearest" });
  };
  const keys = useRef<(event: KeyboardEvent) => void>(() => {});
  keys.current = (event) => {
    const target = event.target as HTMLElement;
    if (event.key === "n" && !event.ctrlKey && !event.metaKey && !/^(INPUT|SELECT)$/.test(target.tagName)) goHot();
  };
  useEffect(() => {
    const listener = (event: KeyboardEvent) => keys.current(event);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
  const shade = (token: Token) => {
    if (measure === "none") return 0;
    return Math.max(0, Math.min(SHADES - 1, Math.round((value(token) / FULL_SCALE[measure]) * (SHADES - 1))));
  };
  return (
    <>
      <h5>
        Response
        <fieldset class="choice">
          <legend class="hidden">Shading</legend>
          {choices.map((choice) => (
            <label key={choice}>
              <input type="radio" name="shading" checked={measure === choice} onChange={() => setMeasure(choice)} />
              <span>{choice === "surprise" ? "−log p" : choice}</span>
            </label>
          ))}
        </fieldset>
        {measure === "none" ? null : (
          <span class="scale">
            0
            {Array.from({ length: SHADES }, (_, i) => (
              <i key={`shade-${i.toString()}`} class={`h${i}`} />
            ))}
            {FULL_SCALE[measure]} nats
            <button type="button" class="link" onClick={goHot}>
              next hottest (n)
            </button>
          </span>
        )}
      </h5>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <pre class="completion" ref={box} tabIndex={0}>
        {tokens.length === 0
          ? text
          : tokens.map((token, i) => (
              <span
                key={`${i.toString()}`}
                class={`h${shade(token)}${hot >= 0 && ranked[hot] === i ? " hot" : ""}`}
                title={`p ${formatNumber(Math.exp(token.logprob))} · log p ${formatNumber(token.logprob)} · entropy ${token.entropy === null ? "not given" : formatNumber(token.entropy)} · id ${token.id}`}
              >
                {token.text}
              </span>
            ))}
      </pre>
    </>
  );
}

/** Puts the pages of a trace together. */
function assemble(parts: readonly TracePart[]): Whole | null {
  let head: Head | null = null;
  let prompt = "";
  const tokens: Token[] = [];
  for (const part of parts) {
    if (part.part === "head") head = part.trace;
    else if (part.part === "prompt") prompt += part.text;
    else
      for (const [i, id] of part.ids.entries())
        tokens.push({
          id,
          text: part.texts[i] ?? "",
          logprob: part.logprobs[i] ?? 0,
          entropy: part.entropies[i] ?? null,
        });
  }
  return head && { head, prompt, tokens };
}
