/** Reads the answer of SGLang's /generate for a list of rows. Its token lists may be long, so that they are checked by hand. */
import { z } from "zod";
import { WeirError } from "../../errors.js";
import type { Drawn, LabelSpan, Peek } from "../generation/generation-server.js";

const span = z.object({ version: z.string(), start: z.number(), end: z.number() });
const answerSchema = z
  .array(
    z.object({
      output_ids: z.array(z.number()),
      meta_info: z.object({
        finish_reason: z.object({ type: z.string() }).nullish(),
        weight_version: z.string().nullish(),
        weight_versions: z.array(span).nullish(),
        output_token_logprobs: z.array(z.unknown()),
        output_top_logprobs: z.array(z.unknown()).nullish(),
      }),
    }),
  )
  .min(1);

type Row = z.infer<typeof answerSchema>[number];

const FINISH: Readonly<Record<string, Drawn["finish"]>> = { stop: "stop", length: "length", abort: "aborted" };

/** `startedWith`: the label of weights that nobody has replaced. Errors of all: WEIR_E_REMOTE for an answer that breaks the protocol. */
export function rowsOf(
  given: unknown,
  url: string,
): { sequences(startedWith: string): readonly Drawn[]; peek(): Peek } {
  const fault = (text: string) =>
    new WeirError("WEIR_E_REMOTE", `${url} does not answer /generate as SGLang does: ${text}`, { url });
  const parsed = answerSchema.safeParse(given);
  if (!parsed.success) throw fault(z.prettifyError(parsed.error));
  const rows = parsed.data;
  /** An entry is [log-prob, token id, text or null]. */
  const logprobs = ({ output_ids, meta_info: { output_token_logprobs: entries } }: Row): readonly number[] => {
    if (entries.length !== output_ids.length)
      throw fault(`${entries.length} log-probs for ${output_ids.length} tokens`);
    return entries.map((entry, t) => {
      const [value, id] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof value !== "number" || id !== output_ids[t])
        throw fault(`log-prob ${t} is ${JSON.stringify(entry)}, of token ${output_ids[t]}`);
      return value;
    });
  };
  return {
    sequences: (startedWith) =>
      rows.map((row) => {
        const type = row.meta_info.finish_reason?.type;
        const finish = FINISH[type ?? ""];
        if (finish === undefined) throw fault(`finish_reason ${type}`);
        return { tokenIds: row.output_ids, logprobs: logprobs(row), finish, labels: labelsOf(row, startedWith) };
      }),
    peek() {
      const row = rows[0] as Row;
      const [drawn] = logprobs(row);
      if (drawn === undefined) throw fault("no token");
      const first: unknown = row.meta_info.output_top_logprobs?.[0];
      const top = (Array.isArray(first) ? first : []) as readonly unknown[];
      const values = top.flatMap((entry) => (Array.isArray(entry) && typeof entry[0] === "number" ? [entry[0]] : []));
      return { drawn, top: values.sort((a, b) => b - a) };
    },
  };
}

function labelsOf({ output_ids, meta_info }: Row, startedWith: string): readonly LabelSpan[] {
  const whole = { version: meta_info.weight_version ?? startedWith, start: 0, end: output_ids.length };
  const spans = meta_info.weight_versions ?? [whole];
  return spans.map(({ version, start, end }) => ({ label: version === startedWith ? null : version, start, end }));
}
