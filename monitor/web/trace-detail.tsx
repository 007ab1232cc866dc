import { useEffect, useState } from "preact/hooks";
import type { TraceToken } from "../../src/contracts/trace.js";
import type { GroupMember, MonitorClient, TracePart } from "../client/index.js";
import { formatNumber } from "./format.js";
import { HeatMap } from "./heat-map.js";
import { Reward, signed } from "./reward.js";
import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

/**
 * One rollout in full: prompt, response, reward, its group, and the numbers of each token.
 * Model output is shown as text nodes only.
 */

interface Props {
  readonly id: string;
  readonly store: Store;
  readonly client: MonitorClient;
  readonly view: ViewState;
  /** The step is where the rollout is found in the run folder. */
  readonly choose: (id: string, step: number) => void;
}

type Head = Extract<TracePart, { part: "head" }>["trace"];

interface Whole {
  readonly head: Head;
  readonly prompt: string;
  readonly tokens: readonly TraceToken[];
  readonly group: readonly GroupMember[];
}

export function TraceDetail({ id, store, client, view, choose }: Props) {
  const [whole, setWhole] = useState<Whole | null>(null);
  const [missing, setMissing] = useState<string | null>(null);
  useTopics(store, "view");

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
  const { head, prompt, tokens, group } = whole;
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
      {group.length > 1 ? <Group members={group} id={id} choose={(other) => choose(other, head.step)} /> : null}
      <HeatMap
        tokens={tokens}
        text={head.completion}
        behaviours={head.behaviours}
        judgedBehaviours={head.judgedBehaviours}
        view={view}
      />
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

/** The responses of the group, each by its reward. */
function Group(props: {
  readonly members: readonly GroupMember[];
  readonly id: string;
  readonly choose: (id: string) => void;
}) {
  const { members, id, choose } = props;
  return (
    <nav class="group" aria-label="Group">
      <span class="muted">group</span>
      {members.map((member) => (
        <button
          key={member.id}
          type="button"
          class="plain"
          aria-current={member.id === id}
          title={`sample ${member.sampleIndex}${member.advantage === null ? "" : `, advantage ${signed(member.advantage)}`}`}
          onClick={() => choose(member.id)}
        >
          <Reward trace={member} />
        </button>
      ))}
    </nav>
  );
}

/** Puts the pages of a trace together. */
function assemble(parts: readonly TracePart[]): Whole | null {
  let head: Head | null = null;
  let prompt = "";
  let group: readonly GroupMember[] = [];
  const tokens: TraceToken[] = [];
  for (const part of parts) {
    if (part.part === "head") {
      head = part.trace;
      // A server of an earlier build sends none.
      group = part.group ?? [];
    } else if (part.part === "prompt") prompt += part.text;
    else
      for (const [i, id] of part.ids.entries())
        tokens.push({
          id,
          text: part.texts[i] ?? "",
          logprob: part.logprobs[i] ?? 0,
          entropy: part.entropies[i] ?? null,
          weight: part.weights?.[i] ?? null,
          advantage: part.advantages?.[i] ?? null,
          ratio: part.ratios?.[i] ?? null,
          klOld: part.klOld?.[i] ?? null,
          klRef: part.klRef?.[i] ?? null,
          lossShare: part.lossShares?.[i] ?? null,
        });
  }
  return head && { head, prompt, tokens, group };
}
