/** The conformance suite of policy losses; the built-ins run it too. */
import assert from "node:assert/strict";
import { LOSS_AGGREGATIONS, type LossEvaluation, type LossPart, type LossSequence } from "../contracts/loss.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface LossSuiteOptions extends SuiteOptions {
  readonly create: () => LossPart | Promise<LossPart>;
}

/** A sequence of `length` tokens whose ratios π/π_old are all `ratio`. */
function sequence(length: number, advantage: number, ratio = 1, weights?: readonly number[]): LossSequence {
  const logprobs = Array.from({ length }, (_, t) => -0.5 - 0.25 * (t % 3)); // [T]
  return {
    logprobs,
    old: logprobs.map((value) => value - Math.log(ratio)),
    reference: null,
    advantages: logprobs.map(() => advantage),
    weights: weights ?? logprobs.map(() => 1 / 8),
  };
}

const BATCH: readonly LossSequence[] = [
  sequence(3, 1),
  sequence(5, -0.5, 1.1),
  sequence(1, 0.25, 0.8),
  sequence(4, -1, 3),
  sequence(2, 0),
];

const rows = (found: LossEvaluation) => found.coefficients.map((row) => Array.from(row));

function close(actual: number, expected: number, what: string): void {
  assert.ok(
    Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${what}: ${actual} and ${expected}`,
  );
}

export function describeLossPart(options: LossSuiteOptions): void {
  const test = (name: string, check: (loss: LossPart) => void | Promise<void>): SuiteTest => ({
    name,
    body: async () => await check(await options.create()),
  });
  const tests: readonly SuiteTest[] = [
    test("declares a kind, specification version 1 and an aggregation", (loss) => {
      assert.equal(typeof loss.kind, "string");
      assert.notEqual(loss.kind, "");
      assert.equal(loss.specificationVersion, 1);
      assert.ok(LOSS_AGGREGATIONS.includes(loss.aggregation), `got ${loss.aggregation}`);
    }),
    test("gives one coefficient per token, and finite numbers only", async (loss) => {
      const found = await loss.evaluate(BATCH);
      assert.deepEqual(
        rows(found).map((row) => row.length),
        BATCH.map(({ logprobs }) => logprobs.length),
      );
      for (const value of [found.value, found.clipped, found.clippedLower, ...rows(found).flat()])
        assert.ok(Number.isFinite(value), `got ${value}`);
    }),
    test("stays finite for a token of almost no probability under the old policy", async (loss) => {
      for (const advantage of [1, -1]) {
        const found = await loss.evaluate([sequence(2, advantage, 1e30), sequence(2, advantage, 1e-30)]);
        for (const value of [found.value, ...rows(found).flat()]) assert.ok(Number.isFinite(value), `got ${value}`);
      }
    }),
    test("raises the log-probs of a response with a positive advantage and lowers those of one with a negative", async (loss) => {
      const [better, worse] = rows(await loss.evaluate([sequence(3, 1), sequence(3, -1)])) as [number[], number[]];
      const sum = (row: readonly number[]) => row.reduce((a, b) => a + b, 0);
      assert.ok(sum(better) < 0, `the coefficients of the better response sum up to ${sum(better)}, expected below 0`);
      assert.ok(sum(worse) > 0, `the coefficients of the worse response sum up to ${sum(worse)}, expected above 0`);
    }),
    test("gives a token of weight 0 no gradient, whatever its log-probs are", async (loss) => {
      const plain = sequence(3, 1, 1, [1, 0, 1]);
      const wild = { ...plain, old: [plain.old[0] as number, -1e9, plain.old[2] as number] };
      const [row] = rows(await loss.evaluate([wild])) as [number[]];
      assert.ok(row[1] === 0, `got ${row[1]}`);
      assert.deepEqual([row], rows(await loss.evaluate([plain])));
    }),
    test("gives parts of a batch that add up to the whole", async (loss) => {
      const whole = await loss.evaluate(BATCH);
      let value = 0;
      const coefficients: number[][] = [];
      for (const one of BATCH) {
        const found = await loss.evaluate([one]);
        value += found.value;
        coefficients.push(...rows(found));
      }
      close(value, whole.value, "value");
      rows(whole).forEach((row, i) => {
        row.forEach((entry, t) => {
          close(coefficients[i]?.[t] as number, entry, `sequence ${i}, token ${t}`);
        });
      });
    }),
    test("is linear in the weights", async (loss) => {
      const doubled = BATCH.map((one) => ({ ...one, weights: Array.from(one.weights, (weight) => 2 * weight) }));
      const [once, twice] = [await loss.evaluate(BATCH), await loss.evaluate(doubled)];
      close(twice.value, 2 * once.value, "value");
      rows(once).forEach((row, i) => {
        row.forEach((entry, t) => {
          close(twice.coefficients[i]?.[t] as number, 2 * entry, `sequence ${i}, token ${t}`);
        });
      });
    }),
    test("keeps no state between calls and does not change its input", async (loss) => {
      const frozen = deepFreeze(structuredClone(BATCH)) as readonly LossSequence[];
      const first = await loss.evaluate(frozen);
      const again = await loss.evaluate(frozen);
      assert.deepEqual([again.value, rows(again)], [first.value, rows(first)]);
    }),
  ];
  registerSuite("policy loss contract", tests, options);
}
