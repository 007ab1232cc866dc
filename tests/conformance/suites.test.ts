/** The suites themselves: they find faults, work with other frameworks, and refuse a wrong skip. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createGrpoAdvantage } from "../../src/actors/advantage/advantage.js";
import { createPhasedCurriculum } from "../../src/actors/curriculum/curriculum.js";
import type { AdvantageActor } from "../../src/contracts/advantage.js";
import type { CurriculumActor } from "../../src/contracts/curriculum.js";
import type { LossPart } from "../../src/contracts/loss.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import { createBuiltInLoss } from "../../src/losses/built-in.js";
import { lossSettings } from "../../src/losses/settings.js";
import {
  createFakeEngine,
  createScriptedReward,
  describeAdvantageActor,
  describeCurriculumActor,
  describeLossPart,
  describeRewardActor,
} from "../../src/testing.js";
import { sampleRequest } from "../helpers/sampling.js";
import { failures } from "../helpers/suite-failures.js";

const advantage = (handle: AdvantageActor["handle"]): AdvantageActor => ({
  kind: "mine",
  specificationVersion: 1,
  handle,
});

describe("the advantage suite", () => {
  const run = (actor: AdvantageActor) =>
    failures((framework) => describeAdvantageActor({ create: () => actor, framework }));

  it("passes a right actor that answers per token", async () => {
    const perToken = advantage(({ rewards, lengths }) =>
      rewards.map((reward, g) => new Array<number>(lengths[g] as number).fill(reward)),
    );
    expect(await run(perToken)).toEqual([]);
  });

  it("finds a missing member, a NaN, a reversed sign, kept state and a changed input", async () => {
    expect(await run(advantage(({ rewards }) => rewards.slice(1)))).toContain(
      "returns a number or a per-token array for each member",
    );
    const divides = advantage(({ rewards }) => {
      const top = Math.max(...rewards);
      return rewards.map((reward) => reward / (top - Math.min(...rewards)));
    });
    expect(await run(divides)).toContain("returns finite numbers only, equal rewards included");
    expect(await run(advantage(({ rewards }) => rewards.map((reward) => -reward)))).toEqual([
      "gives the better of two members the larger advantage",
    ]);
    let calls = 0;
    expect(await run(advantage(({ rewards }) => rewards.map((reward) => reward + calls++)))).toContain(
      "keeps no state between groups",
    );
    expect(await run(advantage(({ rewards }) => (rewards as number[]).sort((a, b) => a - b)))).toContain(
      "does not change its input",
    );
    const wrongVersion = { ...createGrpoAdvantage(), specificationVersion: 3 } as unknown as AdvantageActor;
    expect(await run(wrongVersion)).toEqual(["declares a kind and specification version 1 or 2"]);
  });
});

describe("the loss suite", () => {
  const right = createBuiltInLoss("reinforce", lossSettings("reinforce"));
  const run = (evaluate: LossPart["evaluate"], over: Partial<LossPart> = {}) =>
    failures((framework) =>
      describeLossPart({
        create: () => ({ kind: "mine", specificationVersion: 1, aggregation: "token-mean", evaluate, ...over }),
        framework,
      }),
    );

  it("passes a right loss", async () => {
    expect(await run(right.evaluate)).toEqual([]);
  });

  it("finds a missing coefficient, a reversed sign, a normaliser of its own, an overflow, ignored weights and kept state", async () => {
    const changed = (change: (row: ArrayLike<number>, i: number) => number[], value = (all: number) => all) =>
      run(async (sequences) => {
        const found = await right.evaluate(sequences);
        return { ...found, value: value(found.value), coefficients: found.coefficients.map(change) };
      });
    expect(await changed((row) => Array.from(row).slice(1))).toContain(
      "gives one coefficient per token, and finite numbers only",
    );
    expect(await changed((row) => Array.from(row, (entry) => -entry))).toEqual([
      "raises the log-probs of a response with a positive advantage and lowers those of one with a negative",
    ]);
    expect(
      await run(async (sequences) => {
        const found = await right.evaluate(sequences);
        return { ...found, value: found.value / sequences.length };
      }),
    ).toEqual(["gives parts of a batch that add up to the whole"]);
    expect(
      await run((sequences) => {
        const coefficients = sequences.map(({ logprobs, old, advantages, weights }) =>
          Array.from(
            logprobs,
            (value, t) =>
              -(weights[t] as number) * (advantages[t] as number) * Math.exp(1e3 * (value - (old[t] as number))),
          ),
        );
        return { value: 0, coefficients, clipped: 0, clippedLower: 0 };
      }),
    ).toContain("stays finite for a token of almost no probability under the old policy");
    expect(
      await run((sequences) =>
        right.evaluate(sequences.map((one) => ({ ...one, weights: Array.from(one.weights, () => 1) }))),
      ),
    ).toEqual(["gives a token of weight 0 no gradient, whatever its log-probs are", "is linear in the weights"]);
    let calls = 0;
    expect(await run(async (sequences) => ({ ...(await right.evaluate(sequences)), value: calls++ }))).toContain(
      "keeps no state between calls and does not change its input",
    );
    expect(await run(right.evaluate, { aggregation: "mean" as never })).toEqual([
      "declares a kind, specification version 1 and an aggregation",
    ]);
  });
});

describe("the reward suite", () => {
  const run = (handle: RewardActor["handle"]) =>
    failures((framework) =>
      describeRewardActor({ create: () => ({ kind: "mine", specificationVersion: 1, handle }), framework }),
    );

  it("finds a NaN reward, an unknown outcome and a constant one", async () => {
    expect(await run(async () => ({ kind: "scored", value: Number.NaN, parts: {}, prediction: null }))).toContain(
      "resolves to a well-formed outcome, also for an empty response",
    );
    expect(await run(async () => ({ kind: "maybe" }) as never)).toContain(
      "resolves to a well-formed outcome, also for an empty response",
    );
    expect(await run(createScriptedReward([1]).handle)).toEqual(["scores a correct answer higher than a wrong one"]);
  });
});

describe("the curriculum suite", () => {
  const phased = () =>
    createPhasedCurriculum({
      retrospective: { mode: "paper", share: 0.25 },
      advance: { by: "steps", rewardThreshold: 0.7, klLimit: 0.1, calmSteps: 2, fallbackThreshold: 0 },
    });
  const run = (change: (actor: CurriculumActor) => Partial<CurriculumActor>) =>
    failures((framework) =>
      describeCurriculumActor({
        create: () => {
          const actor = phased();
          return { ...actor, ...change(actor) };
        },
        framework,
      }),
    );

  it("finds a snapshot that forgets, picks outside the phase and uncounted visits", async () => {
    expect(await run(() => ({ restore: () => {} }))).toEqual([
      "has a JSON snapshot from which another instance continues identically",
    ]);
    expect(await run((actor) => ({ next: () => actor.next(1) }))).toContain(
      "picks tasks of the phase, or carried ones from shorter phases",
    );
    expect(await run((actor) => ({ next: (phase) => ({ ...actor.next(phase), visit: 0 }) }))).toEqual([
      "counts the visits of a task from 0",
    ]);
  });
});

describe("the frame of a suite", () => {
  it("refuses to skip a test that does not exist, and says so when no framework is there", () => {
    const framework = { describe: (_: string, body: () => void) => body(), it: () => {} };
    const create = createGrpoAdvantage;
    expect(() => describeAdvantageActor({ create, framework, skip: [{ reason: "none", tests: ["typo"] }] })).toThrow(
      /WEIR_E_USAGE.*typo/,
    );
    expect(() => describeAdvantageActor({ create })).toThrow(/WEIR_E_ACTOR_MISSING.*framework/);
  });

  it("keeps skipped tests visible in the suite's name", () => {
    const names: string[] = [];
    const framework = {
      describe: (name: string, body: () => void) => {
        names.push(name);
        body();
      },
      it: (name: string) => names.push(name),
    };
    const skip = [{ reason: "mine is stateful", tests: ["keeps no state between groups"] }];
    describeAdvantageActor({ create: createGrpoAdvantage, framework, skip });
    expect(names[0]).toBe('advantage actor contract [left out: "keeps no state between groups": mine is stateful]');
    expect(names).not.toContain("keeps no state between groups");
  });

  it("counts skipped tests as such where the framework can", () => {
    const skipped: string[] = [];
    const names: string[] = [];
    const it = Object.assign(() => undefined, { skip: (name: string) => skipped.push(name) });
    const describe = (name: string, body: () => void) => {
      names.push(name);
      body();
    };
    const skip = [{ reason: "mine is stateful", tests: ["keeps no state between groups"] }];
    describeAdvantageActor({ create: createGrpoAdvantage, framework: { describe, it }, skip });
    expect(names).toEqual(["advantage actor contract"]);
    expect(skipped).toEqual(["keeps no state between groups (left out: mine is stateful)"]);
  });

  it("runs under node:test", () => {
    const folder = mkdtempSync(join(tmpdir(), "weir-suite-"));
    try {
      const file = join(folder, "suite.test.mjs");
      const root = join(import.meta.dirname, "..", "..");
      writeFileSync(
        file,
        `import { describe, it } from "node:test";
         const { describeAdvantageActor } = await import(${JSON.stringify(join(root, "src/testing.ts"))});
         const { createRlooAdvantage } = await import(${JSON.stringify(join(root, "src/actors/advantage/advantage.ts"))});
         describeAdvantageActor({ create: createRlooAdvantage, framework: { describe, it } });`,
      );
      const environment = { ...process.env };
      delete environment.NODE_TEST_CONTEXT;
      const output = execFileSync(process.execPath, ["--import", "tsx", "--test", "--test-reporter=tap", file], {
        cwd: root,
        env: environment,
        encoding: "utf8",
      });
      expect(output).toMatch(/# pass 8\b/);
      expect(output).toMatch(/# fail 0\b/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the fake engine", () => {
  const signal = new AbortController().signal;

  it("samples the same tokens for the same seed, and others for another", async () => {
    const engine = createFakeEngine();
    const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 8, stopIds: [] };
    const request = sampleRequest({ prompts: [{ promptIds: [1], seeds: [5, 6] }], params });
    const { sequences } = await engine.sampler.sample(request, { signal });
    expect(sequences).toEqual((await engine.sampler.sample(request, { signal })).sequences);
    expect(sequences[0]?.[0]?.tokenIds).not.toEqual(sequences[0]?.[1]?.tokenIds);
    expect(sequences[0]?.[0]?.spans[0]).toMatchObject({ version: engine.version().n, sha256: engine.version().sha256 });
  });

  it("raises its version by one per publication after optimiser steps, and saves and loads it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "weir-fake-"));
    try {
      const engine = createFakeEngine();
      const { trainer } = engine;
      const publish = () => trainer.publish({ signal, as: "handle", folder: null });
      const { version: saved } = await publish();
      await trainer.saveState(folder, { signal });
      const optimiser = {
        learningRate: 1,
        betas: [0.9, 0.99] as const,
        epsilon: 1e-8,
        weightDecay: 0,
        decayScope: "all" as const,
        maxGradNorm: null,
      };
      const rows = [{ tokenIds: [1, 2], lossMask: [0, 1] }];
      for (let step = 0; step < 2; step++) {
        await trainer.sftForwardBackward({ rows, aggregation: "seq-mean", microBatchTokens: 8 }, { signal });
        await trainer.optimStep(optimiser, { signal });
      }
      const { version } = await publish();
      expect(version.n).toBe(saved.n + 1);
      expect(version.sha256).not.toBe(saved.sha256);
      expect(await trainer.loadState(folder, { signal })).toEqual(saved);
      engine.crash("test");
      expect(await engine.exited).toEqual({ expected: false, reason: "test" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
