/** Reads the answer of /inference/v1/generate. Its token lists may be long, so that they are checked by hand. */
import { z } from "zod";
import { WeirError } from "../../errors.js";
import type { Drawn, LabelSpan, Peek } from "../generation/generation-server.js";

const answerSchema = z.object({
  choices: z
    .array(
      z.object({
        index: z.number(),
        token_ids: z.array(z.number()).nullish(),
        finish_reason: z.string().nullish(),
        weight_versions: z.array(z.object({ version: z.string(), start: z.number(), end: z.number() })).nullish(),
        logprobs: z.object({ content: z.array(z.unknown()).nullish() }).nullish(),
      }),
    )
    .min(1),
});

type Choice = z.infer<typeof answerSchema>["choices"][number];

interface TokenEntry {
  readonly token_id?: unknown;
  readonly logprob?: unknown;
  readonly top_logprobs?: unknown;
}

const FINISH: Readonly<Record<string, Drawn["finish"]>> = { stop: "stop", length: "length", abort: "aborted" };

/** `startedWith`: the label of weights that nobody has replaced. Errors of all: WEIR_E_REMOTE for an answer that breaks the protocol. */
export function drawnOf(
  given: unknown,
  url: string,
): { sequences(startedWith: string): readonly Drawn[]; peek(): Peek } {
  const fault = (text: string) =>
    new WeirError("WEIR_E_REMOTE", `${url} does not answer /inference/v1/generate as vLLM does: ${text}`, { url });
  const parsed = answerSchema.safeParse(given);
  if (!parsed.success) throw fault(z.prettifyError(parsed.error));
  const choices = [...parsed.data.choices].sort((a, b) => a.index - b.index);
  const entries = ({ token_ids, logprobs }: Choice): readonly TokenEntry[] => {
    const content = (logprobs?.content ?? []) as readonly TokenEntry[];
    const ids = token_ids ?? [];
    if (content.length !== ids.length) throw fault(`${content.length} log-probs for ${ids.length} tokens`);
    for (const [t, entry] of content.entries())
      if (entry?.token_id !== ids[t] || typeof entry.logprob !== "number")
        throw fault(`log-prob ${t} is ${JSON.stringify(entry)}, of token ${ids[t]}`);
    return content;
  };
  return {
    sequences: (startedWith) =>
      choices.map((choice) => {
        const finish = FINISH[choice.finish_reason ?? ""];
        if (finish === undefined) throw fault(`finish_reason ${choice.finish_reason}`);
        const tokenIds = choice.token_ids ?? [];
        return {
          tokenIds,
          logprobs: entries(choice).map(({ logprob }) => logprob as number),
          finish,
          labels: labelsOf(choice, startedWith, tokenIds.length),
        };
      }),
    peek() {
      const [entry] = entries(choices[0] as Choice);
      if (entry === undefined) throw fault("no token");
      const top = (Array.isArray(entry.top_logprobs) ? entry.top_logprobs : []) as readonly TokenEntry[];
      const values = top.flatMap(({ logprob }) => (typeof logprob === "number" ? [logprob] : []));
      return { drawn: entry.logprob as number, top: values.sort((a, b) => b - a) };
    },
  };
}

function labelsOf({ weight_versions }: Choice, startedWith: string, tokens: number): readonly LabelSpan[] {
  if (!weight_versions) return [{ label: null, start: 0, end: tokens }];
  return weight_versions.map(({ version, start, end }) => ({
    label: version === startedWith ? null : version,
    start,
    end,
  }));
}
