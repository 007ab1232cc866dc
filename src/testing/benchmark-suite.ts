/** The conformance suite of benchmarks; the built-ins run it too. */
import assert from "node:assert/strict";
import type { Benchmark, BenchmarkItem, BenchmarkRow, BenchmarkScore } from "../contracts/benchmark.js";
import type { Judge } from "../contracts/judge.js";
import { WeirError } from "../errors.js";
import { checksOf, deepFreeze, registerSuite, type SuiteOptions } from "./framework.js";

export interface BenchmarkSuiteOptions extends SuiteOptions {
  readonly create: () => Benchmark | Promise<Benchmark>;
  /** A row of the data set. */
  readonly row: BenchmarkRow;
  /** What a response to that row says after its thinking: one that must score higher than `wrong`. */
  readonly right: string;
  readonly wrong: string;
}

interface Given {
  readonly row: BenchmarkRow;
  readonly right: string;
  readonly wrong: string;
}

const ROW_NUMBER = 7;
const HARD: readonly string[] = [
  "",
  "</think>",
  " \n",
  "[[YES]]",
  "\\boxed{",
  "x".repeat(20_000),
  "\u0000\u{1f98a}</think>\ud800",
];

const thought = (answer: string): string => `<think>Let me read.</think>\n${answer}`;

/** Calls answers equal where one holds the other. */
const lenient: Judge = {
  kind: "lenient",
  specificationVersion: 1,
  async ask({ prediction, gold }) {
    const equal = prediction.includes(gold) || (prediction !== "" && gold.includes(prediction));
    return { kind: "verdict", value: equal ? 1 : 0, reply: equal ? "[[YES]]" : "[[NO]]" };
  },
};

/** Never gives a verdict, and counts how often it is asked. */
function failing(): Judge & { asked: number } {
  return {
    kind: "failing",
    specificationVersion: 1,
    asked: 0,
    async ask() {
      this.asked++;
      return { kind: "failed", code: "WEIR_E_JUDGE", reason: "away" };
    },
  };
}

/** A judge where the benchmark needs one. */
function score(part: Benchmark, item: BenchmarkItem, response: string, judge: Judge | null = judgeOf(part)) {
  return part.score(item, response, { signal: new AbortController().signal, judge, requireThink: true });
}

const judgeOf = ({ needsJudge }: Benchmark): Judge | null => (needsJudge === true ? lenient : null);

function assertItem(item: BenchmarkItem): void {
  for (const key of ["id", "source"] as const) {
    assert.equal(typeof item[key], "string", key);
    assert.notEqual(item[key], "", key);
  }
  assert.ok(item.messages.length > 0, "an item has messages");
  for (const { content } of item.messages) assert.equal(typeof content, "string", "content");
  assert.ok(item.golds.length > 0, "an item has a gold answer");
  for (const gold of item.golds) assert.equal(typeof gold, "string", "gold answer");
}

function assertScore(one: BenchmarkScore): void {
  if (one.kind === "unscored") {
    assert.notEqual(one.code, "");
    assert.equal(typeof one.reason, "string");
    return;
  }
  assert.equal(one.kind, "scored");
  assert.ok(one.value >= 0 && one.value <= 1, `value ${one.value}`);
  for (const [name, value] of Object.entries(one.scores)) assert.ok(Number.isFinite(value), `${name}: ${value}`);
  assert.ok(one.prediction === null || typeof one.prediction === "string", "prediction");
}

type Check = (part: Benchmark, given: Given) => Promise<void> | void;

const READING: Readonly<Record<string, Check>> = {
  "declares a kind and specification version 1": ({ kind, specificationVersion }) => {
    assert.equal(typeof kind, "string");
    assert.notEqual(kind, "");
    assert.equal(specificationVersion, 1);
  },
  "reads a row into an item with messages and gold answers": (part, { row }) => assertItem(part.item(row, ROW_NUMBER)),
  "reads the same row into the same item and does not change it": (part, { row }) => {
    const frozen = deepFreeze(structuredClone(row));
    assert.deepEqual(part.item(frozen, ROW_NUMBER), part.item(frozen, ROW_NUMBER));
  },
  "refuses an empty row, naming row and column": (part) => {
    assert.throws(
      () => part.item({}, ROW_NUMBER),
      (error) =>
        WeirError.isInstance(error) &&
        error.code === "WEIR_E_DATA" &&
        error.message.includes(`row ${ROW_NUMBER}`) &&
        error.message.includes("column"),
    );
  },
};

const SCORING: Readonly<Record<string, Check>> = {
  "scores a right answer higher than a wrong one": async (part, { row, right, wrong }) => {
    const item = part.item(row, ROW_NUMBER);
    const [better, worse] = [await score(part, item, thought(right)), await score(part, item, thought(wrong))];
    assert.ok(better.kind === "scored", `the right answer's score is ${JSON.stringify(better)}`);
    assert.ok(worse.kind === "scored", `the wrong answer's score is ${JSON.stringify(worse)}`);
    assert.ok(better.value > worse.value, `right ${better.value}, wrong ${worse.value}`);
  },
  "gives a well-formed score to whatever a response says": async (part, { row }) => {
    const item = part.item(row, ROW_NUMBER);
    for (const response of [...HARD, ...HARD.map(thought)]) assertScore(await score(part, item, response));
  },
  "finds no answer without </think> where that is required": async (part, { row, right }) => {
    const one = await score(part, part.item(row, ROW_NUMBER), right);
    assert.ok(one.kind === "unscored" || (one.value === 0 && one.prediction === null), JSON.stringify(one));
  },
  "gives the same scores concurrently as one after the other": async (part, { row, right, wrong }) => {
    const item = part.item(row, ROW_NUMBER);
    const responses = [right, wrong, ""].map(thought);
    const single: BenchmarkScore[] = [];
    for (const response of responses) single.push(await score(part, item, response));
    assert.deepEqual(await Promise.all(responses.map((response) => score(part, item, response))), single);
  },
  "leaves a response unscored where the judge that it asks fails": async (part, { row, right, wrong }) => {
    const item = part.item(row, ROW_NUMBER);
    for (const answer of [right, wrong]) {
      const judge = failing();
      const one = await score(part, item, thought(answer), judge);
      if (judge.asked > 0) assert.equal(one.kind, "unscored", JSON.stringify(one));
      else assertScore(one);
    }
  },
  "gives no score where it needs a judge and has none": async (part, { row, right }) => {
    const one = await score(part, part.item(row, ROW_NUMBER), thought(right), null);
    assert.equal(one.kind, part.needsJudge === true ? "unscored" : "scored", JSON.stringify(one));
  },
  "does not change the item": async (part, { row, right }) => {
    await score(part, deepFreeze(structuredClone(part.item(row, ROW_NUMBER))), thought(right));
  },
};

export function describeBenchmark(options: BenchmarkSuiteOptions): void {
  const { create, row, right, wrong } = options;
  registerSuite("benchmark contract", checksOf({ ...READING, ...SCORING }, create, { row, right, wrong }), options);
}
