/** The runner of benchmarks: what is asked, what is recorded, what ends it. */
import { describe, expect, it } from "vitest";
import { evaluateBenchmark, sampleSeed } from "../../src/actors/evaluation/evaluate-benchmark.js";
import type { EvaluatedResponse } from "../../src/contracts/evaluated-response.js";
import type { Readiness, ReadinessState } from "../../src/contracts/readiness.js";
import { answered, runOf, scriptedResponder, tinyBenchmark } from "./rig.js";

const ROWS = [
  { id: "a", question: "short", gold: "1" },
  { id: "b", question: "a longer one", gold: "2" },
  { id: "c", question: "the longest one of all", gold: "3" },
];
const signal = () => new AbortController().signal;
const byKey = (all: readonly EvaluatedResponse[]) =>
  [...all]
    .sort((x, y) => x.row - y.row || x.sample - y.sample)
    .map(({ item, sample, outcome }) => `${item}${sample} ${outcome.kind}`);

describe("evaluateBenchmark", () => {
  it("records each sample once, with its own seed, whatever became of it", async () => {
    const recorded: EvaluatedResponse[] = [];
    const responder = scriptedResponder((question) => {
      if (question === "short") return answered("1");
      if (question === "a longer one") return answered("?");
      return { kind: "unanswered", code: "WEIR_E_REMOTE", reason: "refused" };
    });
    await evaluateBenchmark(runOf(ROWS, responder, recorded, { samples: 2 }), signal());
    expect(byKey(recorded)).toEqual([
      "a0 scored",
      "a1 scored",
      "b0 unscored",
      "b1 unscored",
      "c0 unanswered",
      "c1 unanswered",
    ]);
    const [a0, , b0, , c0] = [...recorded].sort((x, y) => x.row - y.row || x.sample - y.sample);
    expect(a0).toMatchObject({
      ...{ benchmark: "tiny", row: 0, source: "tiny", seed: sampleSeed(3, "tiny", "a", 0), questionTokens: 5 },
      ...{ response: "1", responseTokens: 1, finish: "stop", outcome: { kind: "scored", value: 1, prediction: "1" } },
    });
    expect(b0).toMatchObject({ response: "?", outcome: { code: "WEIR_E_JUDGE", reason: "no verdict" } });
    expect(c0).toMatchObject({ response: null, finish: null, outcome: { kind: "unanswered", code: "WEIR_E_REMOTE" } });
    expect(new Set(recorded.map(({ seed }) => seed)).size).toBe(6);
  });

  it("draws the same whatever the size and number of calls (I12)", async () => {
    const draw = async (questionsPerCall: number, callsInFlight: number) => {
      const recorded: EvaluatedResponse[] = [];
      const responder = scriptedResponder((question, seed) => answered(`${question}${seed}`), {
        questionsPerCall,
        callsInFlight,
      });
      await evaluateBenchmark(runOf(ROWS, responder, recorded, { samples: 3 }), signal());
      return [...recorded].sort((x, y) => x.row - y.row || x.sample - y.sample);
    };
    expect(await draw(1, 1)).toEqual(await draw(3, 4));
  });

  it("goes on with what is missing, and tries failures again only where it is told to", async () => {
    const before = new Map<string, EvaluatedResponse["outcome"]["kind"]>([
      ["a0", "scored"],
      ["b0", "unscored"],
      ["c0", "unanswered"],
    ]);
    const asked: string[] = [];
    const responder = () =>
      scriptedResponder((question) => {
        asked.push(question);
        return answered("2");
      });
    const stored = (item: string): EvaluatedResponse => ({
      ...{
        benchmark: "tiny",
        item,
        row: 1,
        source: "tiny",
        asked: "",
        sample: 0,
        seed: 1,
        questionTokens: 1,
        promptTokens: 1,
      },
      ...{ response: "2", responseTokens: 1, finish: "stop" },
      outcome: { kind: "unscored", code: "WEIR_E_JUDGE", reason: "away" },
    });
    const resumed: EvaluatedResponse[] = [];
    const known = (item: string, sample: number) => before.get(`${item}${sample}`) ?? null;
    await evaluateBenchmark(runOf(ROWS, responder(), resumed, { samples: 2, known, stored }), signal());
    expect(byKey(resumed)).toEqual(["a1 scored", "b1 scored", "c1 scored"]);
    asked.length = 0;
    const retried: EvaluatedResponse[] = [];
    await evaluateBenchmark(runOf(ROWS, responder(), retried, { known, stored, retryFailed: true }), signal());
    // The response of b is there and is scored again; only c is asked.
    expect(asked).toEqual(["the longest one of all"]);
    expect(byKey(retried)).toEqual(["b0 scored", "c0 scored"]);
    expect(retried.find(({ item }) => item === "b")?.outcome).toMatchObject({ kind: "scored", value: 1 });
  });

  it("takes the first questions of the file, and of each length bucket", async () => {
    const rows = [...ROWS, { id: "d", question: "brief", gold: "1" }, { id: "e", question: "tiny", gold: "1" }];
    const items = async (over: object) => {
      const recorded: EvaluatedResponse[] = [];
      await evaluateBenchmark(
        runOf(
          rows,
          scriptedResponder(() => answered("1")),
          recorded,
          over,
        ),
        signal(),
      );
      return recorded.map(({ item }) => item).sort();
    };
    expect(await items({ limit: 2 })).toEqual(["a", "b"]);
    expect(await items({ perBucket: 1 })).toEqual(["a", "b", "c"]);
    expect(await items({ perBucket: 2 })).toEqual(["a", "b", "c", "d"]);
  });

  it("names file and row of an id that comes twice and of a row that cannot be read, and refuses a file without rows", async () => {
    const run = (rows: readonly Record<string, string>[], over = {}) =>
      evaluateBenchmark(
        runOf(
          rows,
          scriptedResponder(() => answered("1")),
          [],
          over,
        ),
        signal(),
      );
    await expect(run([...ROWS, { id: "a", question: "x", gold: "1" }])).rejects.toThrow(
      /tiny\.jsonl, row 3: the id "a" occurs a second time/,
    );
    await expect(run([])).rejects.toThrow(/WEIR_E_DATA: tiny\.jsonl: expected at least one row/);
    const needsJudge = { ...tinyBenchmark, needsJudge: true };
    await expect(run(ROWS, { benchmark: needsJudge })).rejects.toThrow(
      /WEIR_E_ACTOR_MISSING.*"tiny" is scored by a judge/,
    );
  });

  it("I1: a scorer that hangs, or throws, leaves its response without a score", async () => {
    const recorded: EvaluatedResponse[] = [];
    const benchmark = {
      ...tinyBenchmark,
      score: (item: { id: string }) =>
        item.id === "a" ? new Promise<never>(() => undefined) : Promise.reject(new Error("broken")),
    };
    const run = runOf(
      ROWS.slice(0, 2),
      scriptedResponder(() => answered("1")),
      recorded,
      { benchmark, scoreTimeoutMs: 20 },
    );
    await evaluateBenchmark(run, signal());
    expect(new Map(recorded.map(({ item, outcome }) => [item, outcome]))).toEqual(
      new Map([
        ["b", { kind: "unscored", code: "error", reason: "broken" }],
        ["a", { kind: "unscored", code: "timedOut", reason: "the scorer gave no score within 20 ms" }],
      ]),
    );
  });

  it("waits for a judge that is away before it scores, and goes on by itself", async () => {
    let state: ReadinessState = { ready: false, code: "WEIR_E_JUDGE", reason: "the judge is away", forMs: 1 };
    const listeners = new Set<(now: ReadinessState) => void>();
    const readiness: Readiness = {
      state: () => state,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    const judge = {
      kind: "fake",
      specificationVersion: 1,
      ask: async () => ({ kind: "verdict", value: 1, reply: "" }) as const,
      readiness,
    } as const;
    const recorded: EvaluatedResponse[] = [];
    const told: (string | null)[] = [];
    const waiting = new Promise<void>((resolve) => {
      const onWait = (reason: string | null) => {
        told.push(reason);
        resolve();
      };
      const run = runOf(
        ROWS.slice(0, 1),
        scriptedResponder(() => answered("1")),
        recorded,
        { judge, onWait },
      );
      done = evaluateBenchmark(run, signal());
    });
    await waiting;
    expect(recorded).toEqual([]);
    state = { ready: true };
    for (const listener of [...listeners]) listener(state);
    await done;
    expect(told).toEqual(["the judge is away", null]);
    expect(byKey(recorded)).toEqual(["a0 scored"]);
    expect(listeners.size).toBe(0);
  });

  it("ends with the policy's own error, and with the signal; what was recorded stays", async () => {
    const recorded: EvaluatedResponse[] = [];
    const failing = scriptedResponder(
      (question) => {
        if (question === "the longest one of all") throw new Error("the engine is gone");
        return answered("1");
      },
      { questionsPerCall: 1, callsInFlight: 1 },
    );
    await expect(evaluateBenchmark(runOf(ROWS, failing, recorded), signal())).rejects.toThrow("the engine is gone");
    expect(byKey(recorded)).toEqual(["a0 scored", "b0 scored"]);
    const controller = new AbortController();
    controller.abort(new Error("stopped"));
    const run = runOf(
      ROWS,
      scriptedResponder(() => answered("1")),
      [],
    );
    await expect(evaluateBenchmark(run, controller.signal)).rejects.toThrow("stopped");
  });
});

let done: Promise<void> = Promise.resolve();
