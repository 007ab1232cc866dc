// A benchmark of one's own: which passages of a document hold the answer. A response ends in "Passages: 2, 5".
import { type Benchmark, type BenchmarkRow, type PartDefinitions, WeirError } from "weir-rl";

function texts(row: BenchmarkRow, index: number, column: string): readonly string[] {
  const value = row[column];
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string")) return value;
  throw new WeirError("WEIR_E_DATA", `passages, row ${index}, column "${column}": expected a list of texts`);
}

/** Numbers after the last "Passages:"; null without it. */
function passagesOf(response: string): readonly string[] | null {
  const answer = response.split("</think>").at(-1) ?? "";
  const list = /[\s\S]*Passages:([\d,\s]*)/.exec(answer)?.[1];
  return list === undefined ? null : [...new Set(list.match(/\d+/g) ?? [])];
}

export const passages: Benchmark = {
  kind: "passages",
  specificationVersion: 1,
  item(row, index) {
    const numbered = texts(row, index, "passages").map((text, at) => `[${at + 1}] ${text}`);
    const ask = `${row.question}\nName the passages that answer this, as in "Passages: 2, 5".`;
    return {
      id: typeof row.id === "string" ? row.id : String(index),
      source: typeof row.topic === "string" ? row.topic : "passages",
      messages: [{ role: "user", content: `${numbered.join("\n")}\n\n${ask}` }],
      golds: texts(row, index, "evidence"),
      meta: {},
    };
  },
  async score({ golds }, response, { requireThink }) {
    const named = requireThink && !response.includes("</think>") ? null : passagesOf(response);
    if (named === null) return { kind: "scored", value: 0, scores: { f1: 0 }, prediction: null };
    const right = named.filter((passage) => golds.includes(passage)).length;
    const f1 = (2 * right) / (named.length + golds.length);
    return { kind: "scored", value: f1, scores: { f1 }, prediction: named.join(", ") };
  },
};

export const parts: PartDefinitions = { benchmark: { passages } };
