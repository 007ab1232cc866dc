/** An alarm is raised once, updated while its cause lasts, and ended: not 400 times for one cause. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricName } from "../../src/contracts/metrics.js";
import {
  type AlarmBookState,
  type AlarmChanges,
  bookStep,
  EMPTY_BOOK,
} from "../../src/streams/telemetry/alarm-book.js";

interface Shown {
  readonly rule?: string;
  readonly metric?: MetricName;
  readonly value?: number;
  readonly z?: number | null;
}

const alert = (
  step: number,
  { rule = "kl_limit", metric = "kl/update", value = 0.6, z = null }: Shown = {},
): Alert => ({
  id: `${step}-${rule}-${metric}`,
  ...{ level: "error", rule, metric, value, threshold: 0.5, z, step, phase: 1, policyVersion: step },
  ...{ text: "too far", culprits: [], time: 0 },
});

/** What is told, step by step, as `raised 3-kl_limit-kl/update`. */
function told(steps: readonly (readonly Alert[])[], updateSteps = 10): string[][] {
  let book = EMPTY_BOOK;
  return steps.map((found) => {
    const { book: next, ...changes } = bookStep(book, found, updateSteps);
    book = next;
    return words(changes);
  });
}

function words({ raised, updated, ended }: AlarmChanges): string[] {
  return [
    ...ended.map(({ id, fromStep, toStep, worst }) => `ended ${id} ${fromStep}-${toStep} worst ${worst}`),
    ...updated.map(({ id, steps, value, worst }) => `updated ${id} after ${steps}: ${value}, worst ${worst}`),
    ...raised.map(({ id }) => `raised ${id}`),
  ];
}

const quiet = (count: number) => Array.from({ length: count }, () => []);
const lasting = (from: number, to: number, shown?: Shown) =>
  Array.from({ length: to - from + 1 }, (_, i) => [alert(from + i, shown)]);

describe("an alarm whose cause lasts", () => {
  it("is raised once and updated at growing intervals: 5 times in 400 steps", () => {
    const steps = told(lasting(1, 400));
    expect(steps[0]).toEqual(["raised 1-kl_limit-kl/update"]);
    // 10 steps after the first, then 20, 40, 80, 160 later.
    const updates = steps.flatMap((words, i) => (words.some((word) => word.startsWith("updated")) ? [i + 1] : []));
    expect(updates).toEqual([11, 31, 71, 151, 311]);
    expect(steps.flat()).toHaveLength(6);
  });

  it("ends after five quiet steps, with its first and last step and its worst value", () => {
    const steps = [[alert(4)], [alert(5, { value: 0.9 })], [alert(6, { value: 0.7 })], ...quiet(7)];
    expect(told(steps).flat()).toEqual(["raised 4-kl_limit-kl/update", "ended 4-kl_limit-kl/update 4-6 worst 0.9"]);
    expect(told(steps)[8]).toEqual(["ended 4-kl_limit-kl/update 4-6 worst 0.9"]);
  });

  it("is one alarm where the value oscillates around its limit", () => {
    const steps = [[alert(1)], [], [alert(3)], [], [], [], [], [], [alert(9)], ...quiet(5)];
    expect(told(steps).flat()).toEqual(["raised 1-kl_limit-kl/update"]);
  });

  it("counts a value that is not finite as no worst one", () => {
    const broken = alert(1, { rule: "non_finite", metric: "loss/total", value: Number.NaN });
    expect(told([[broken], ...quiet(6)]).flat()).toEqual([
      "raised 1-non_finite-loss/total",
      "ended 1-non_finite-loss/total 1-1 worst null",
    ]);
  });

  it("stands apart from alarms of another rule or metric", () => {
    const steps = [
      [alert(1), alert(1, { metric: "kl/old_k3" })],
      [alert(2), alert(2, { rule: "mismatch" })],
    ];
    expect(told(steps)).toEqual([
      ["raised 1-kl_limit-kl/update", "raised 1-kl_limit-kl/old_k3"],
      ["raised 2-mismatch-kl/update"],
    ]);
  });
});

describe("an alarm about a jump", () => {
  it("is over with the step that shows it, and is one alarm over consecutive steps", () => {
    const spike = (step: number, z: number) => [alert(step, { rule: "kl_spike", z, value: step })];
    expect(told([spike(10, 7), spike(11, 9), [], spike(13, 7)])).toEqual([
      ["raised 10-kl_spike-kl/update"],
      [],
      ["ended 10-kl_spike-kl/update 10-11 worst 11"],
      ["raised 13-kl_spike-kl/update"],
    ]);
  });
});

describe("a step that is run again after a rollback", () => {
  it("gives its alarm an id of its own", () => {
    const again = [[alert(7, { rule: "kl_spike" })], [], [alert(7, { rule: "kl_spike" })]];
    expect(
      told(again)
        .flat()
        .filter((word) => word.startsWith("raised")),
    ).toEqual(["raised 7-kl_spike-kl/update", "raised 7-kl_spike-kl/update-2"]);
  });
});

describe("the book", () => {
  const RULES = ["kl_limit", "kl_spike", "mismatch"];
  const runs = fc.array(fc.subarray(RULES), { maxLength: 120 });
  const found = (rules: readonly string[], step: number) => rules.map((rule) => alert(step, { rule }));

  it("ends every alarm that it raised, once its cause is over, and no other", () => {
    fc.assert(
      fc.property(runs, fc.integer({ min: 1, max: 20 }), (steps, updateSteps) => {
        const all = [...steps.map((rules, i) => found(rules, i + 1)), ...quiet(6)];
        let book = EMPTY_BOOK;
        const changes = all.map((alerts) => {
          const step = bookStep(book, alerts, updateSteps);
          book = step.book;
          return step;
        });
        const raised = changes.flatMap((step) => step.raised.map(({ id }) => id));
        expect(new Set(raised).size).toBe(raised.length);
        expect(changes.flatMap((step) => step.ended.map(({ id }) => id)).sort()).toEqual([...raised].sort());
        expect(book.open).toEqual([]);
      }),
    );
  });

  it("goes on identically from its state at any step", () => {
    fc.assert(
      fc.property(runs, fc.nat(119), (steps, cut) => {
        let [whole, resumed]: AlarmBookState[] = [EMPTY_BOOK, EMPTY_BOOK] as [AlarmBookState, AlarmBookState];
        steps.forEach((rules, i) => {
          if (i === cut) resumed = JSON.parse(JSON.stringify(resumed));
          const [one, other] = [whole, resumed].map((book) => bookStep(book as AlarmBookState, found(rules, i + 1), 3));
          expect(other).toEqual(one);
          [whole, resumed] = [one?.book as AlarmBookState, other?.book as AlarmBookState];
        });
      }),
    );
  });
});
