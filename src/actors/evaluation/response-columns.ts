/** Responses of an evaluation as parquet: one row per response, plain columns, so that pandas and duckdb read it as it is. */
import type { SchemaElement } from "hyparquet";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";

type Indexed = Omit<EvaluatedResponse, "response">;
type Kind = "text" | "integer" | "long" | "real";
type Column = readonly [name: string, kind: Kind, value: (response: Indexed, text: string | null) => unknown];

const ROW_GROUP_ROWS = 256;
const TYPES = { text: "BYTE_ARRAY", integer: "INT32", long: "INT64", real: "DOUBLE" } as const;

const scoredOf = ({ outcome }: Indexed) => (outcome.kind === "scored" ? outcome : null);
const failureOf = ({ outcome }: Indexed) => (outcome.kind === "scored" ? null : outcome);

function columnsOf(responses: readonly Indexed[], bucketOf: (tokens: number | null) => string): Column[] {
  const names = [...new Set(responses.flatMap((response) => Object.keys(scoredOf(response)?.scores ?? {})))].sort();
  return [
    ["benchmark", "text", (r) => r.benchmark],
    ["prompt_id", "text", (r) => r.item],
    ["row", "integer", (r) => r.row],
    ["source", "text", (r) => r.source],
    ["bucket", "text", (r) => bucketOf(r.questionTokens)],
    ["sample", "integer", (r) => r.sample],
    ["seed", "long", (r) => BigInt(r.seed)],
    ["asked", "text", (r) => r.asked],
    ["question_tokens", "integer", (r) => r.questionTokens],
    ["prompt_tokens", "integer", (r) => r.promptTokens],
    ["answer", "text", (_, text) => text],
    ["tokens", "integer", (r) => r.responseTokens],
    ["finish", "text", (r) => r.finish],
    ["outcome", "text", (r) => r.outcome.kind],
    ["parsed", "text", (r) => scoredOf(r)?.prediction ?? null],
    ["value", "real", (r) => scoredOf(r)?.value ?? null],
    ...names.map((name): Column => [`score_${name}`, "real", (r) => scoredOf(r)?.scores[name] ?? null]),
    ["error_code", "text", (r) => failureOf(r)?.code ?? null],
    ["error", "text", (r) => failureOf(r)?.reason ?? null],
  ];
}

function element([name, kind]: Column): SchemaElement {
  const repetition_type = "OPTIONAL" as const;
  return kind === "text"
    ? { name, type: TYPES.text, converted_type: "UTF8", repetition_type }
    : { name, type: TYPES[kind], repetition_type };
}

/** The parquet file of some responses, in the order given; `textOf` gives the text of each when its rows are written. */
export function encodeResponses<T extends Indexed>(
  responses: readonly T[],
  textOf: (response: T) => string | null,
  bucketOf: (tokens: number | null) => string,
): Uint8Array {
  const columns = columnsOf(responses, bucketOf);
  const writer = new ByteWriter();
  const file = new ParquetWriter({
    writer,
    schema: [{ name: "root", num_children: columns.length }, ...columns.map(element)],
    createdBy: "weir",
  });
  for (let start = 0; start < responses.length; start += ROW_GROUP_ROWS) {
    const rows = responses.slice(start, start + ROW_GROUP_ROWS);
    const texts = rows.map(textOf);
    file.write({
      columnData: columns.map(([name, , value]) => ({
        name,
        data: rows.map((row, i) => value(row, texts[i] ?? null)),
      })),
    });
  }
  file.finish();
  return writer.getBytes();
}
