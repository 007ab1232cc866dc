import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideAdvance, FRESH_PHASE } from "../../src/actors/curriculum/advance.js";
import { carriedPool, carriedQuota, chooseCarried } from "../../src/actors/curriculum/carry.js";
import { createPhasedCurriculum, type PhasedCurriculumOptions } from "../../src/actors/curriculum/curriculum.js";
import type { CurriculumActor, CurriculumSetup } from "../../src/contracts/curriculum.js";

const steps = { by: "steps", rewardThreshold: 0.7, klLimit: 0.1, calmSteps: 3, fallbackThreshold: 0 } as const;
const mastery = { ...steps, by: "mastery" } as const;

function curriculum(setup: CurriculumSetup, options: Partial<PhasedCurriculumOptions> = {}): CurriculumActor {
  const actor = createPhasedCurriculum({ retrospective: { mode: "paper", share: 0.25 }, advance: steps, ...options });
  actor.setup(setup);
  return actor;
}

/** n1 tasks of up to 100 tokens, n2 of 101 to 200. */
function twoPhases(n1: number, n2: number, seed = 3): CurriculumSetup {
  const short = Array.from({ length: n1 }, (_, i) => ({ id: `s${i}`, promptTokens: 1 + (i % 100) }));
  const long = Array.from({ length: n2 }, (_, i) => ({ id: `l${i}`, promptTokens: 101 + (i % 100) }));
  return {
    tasks: [...short, ...long],
    phases: [
      { k: 1, minTokens: 0, maxTokens: 100, steps: 2 },
      { k: 2, minTokens: 100, maxTokens: 200, steps: 2 },
    ],
    seed,
  };
}

const pick = (actor: CurriculumActor, phase: number, count: number) =>
  Array.from({ length: count }, () => actor.next(phase));

describe("the phased curriculum", () => {
  it("picks each task of a phase once per epoch, in an order of its own each epoch", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.nat(99), (n, seed) => {
        const actor = curriculum(twoPhases(n, 1, seed));
        for (let epoch = 0; epoch < 3; epoch++) {
          const picks = pick(actor, 1, n);
          expect(new Set(picks.map(({ taskId }) => taskId)).size).toBe(n);
          expect(picks.every(({ visit, carried }) => visit === epoch && !carried)).toBe(true);
        }
      }),
    );
    const actor = curriculum(twoPhases(20, 1));
    const order = () => pick(actor, 1, 20).map(({ taskId }) => taskId);
    expect(order()).not.toEqual(order());
    const other = curriculum(twoPhases(20, 1, 4));
    expect(pick(other, 1, 20)).not.toEqual(pick(curriculum(twoPhases(20, 1)), 1, 20));
  });

  it("puts each task into the phase of Eq. 9 and no other", () => {
    const tasks = [1, 100, 101, 200, 201].map((promptTokens) => ({ id: `${promptTokens}`, promptTokens }));
    const actor = curriculum({ ...twoPhases(0, 0), tasks });
    const ids = (phase: number) => new Set(pick(actor, phase, 10).map(({ taskId }) => taskId));
    expect([ids(1), ids(2)]).toEqual([new Set(["1", "100"]), new Set(["101", "200"])]);
  });

  it("carries exactly the tasks of mean accuracy 0 in the paper's mode, each once per epoch", () => {
    const solved = fc.array(fc.nat(2), { minLength: 4, maxLength: 12 });
    fc.assert(
      fc.property(solved, fc.nat(99), (kinds, seed) => {
        const setup = twoPhases(kinds.length, 40, seed);
        const actor = curriculum(setup);
        pick(actor, 1, kinds.length);
        kinds.forEach((kind, i) => {
          if (kind < 2) actor.observe({ taskId: `s${i}`, phase: 1, rewards: kind === 0 ? [0, 0] : [0, 0.5] });
        });
        const hard = kinds.flatMap((kind, i) => (kind === 0 ? [`s${i}`] : []));
        const epoch = pick(actor, 2, 40 + hard.length);
        const carried = epoch.filter((choice) => choice.carried).map(({ taskId }) => taskId);
        expect(carried.sort()).toEqual(hard.sort());
        expect(new Set(epoch.map(({ taskId }) => taskId)).size).toBe(epoch.length);
      }),
    );
  });

  it("keeps carried tasks within their share, and gives each its turn", () => {
    const actor = curriculum(twoPhases(10, 6));
    for (const { taskId } of pick(actor, 1, 10)) actor.observe({ taskId, phase: 1, rewards: [0, 0] });
    // 2 of 8 picks are a quarter; ten carried tasks need five epochs.
    const uses = new Map<string, number>();
    for (let epoch = 0; epoch < 5; epoch++) {
      const carried = pick(actor, 2, 8).filter((choice) => choice.carried);
      expect(carried).toHaveLength(2);
      for (const { taskId } of carried) uses.set(taskId, (uses.get(taskId) ?? 0) + 1);
    }
    expect([...uses.values()]).toEqual(new Array(10).fill(1));
  });

  it("carries nothing in mode none, and everything seen in mode weighted, hard tasks more often", () => {
    const run = (mode: "none" | "weighted") => {
      const actor = curriculum(twoPhases(20, 15), { retrospective: { mode, share: 0.25 } });
      for (const { taskId } of pick(actor, 1, 20)) {
        const hard = Number(taskId.slice(1)) < 10;
        actor.observe({ taskId, phase: 1, rewards: new Array(8).fill(hard ? 0 : 1) });
      }
      return pick(actor, 2, 40 * (mode === "none" ? 15 : 20)).filter((choice) => choice.carried);
    };
    expect(run("none")).toEqual([]);
    const carried = run("weighted");
    expect(carried).toHaveLength(40 * 5);
    const hard = carried.filter(({ taskId }) => Number(taskId.slice(1)) < 10).length;
    // Weights are 10 and 10/9; without replacement the share of hard ones lies a little below 9/10.
    expect(hard / carried.length).toBeGreaterThan(0.75);
    expect(hard / carried.length).toBeLessThan(0.95);
  });

  it("continues identically from a snapshot taken anywhere, restored into another instance (I3)", () => {
    fc.assert(
      fc.property(
        fc.nat(30),
        fc.constantFrom<"none" | "paper" | "weighted">("none", "paper", "weighted"),
        fc.nat(9),
        (before, mode, seed) => {
          const setup = twoPhases(7, 5, seed);
          const options = { retrospective: { mode, share: 0.4 }, advance: mastery };
          const run = (actor: CurriculumActor, from: number, to: number) => {
            const said: unknown[] = [];
            for (let i = from; i < to; i++) {
              const phase = i < 15 ? 1 : 2;
              const choice = actor.next(phase);
              actor.observe({ taskId: choice.taskId, phase, rewards: [i % 3 === 0 ? 1 : 0, 0] });
              said.push(choice);
              if (i % 4 === 3)
                said.push(actor.decide({ step: i, phase, meanReward: 0.2, accuracy: 0.2, kl: 0.01, entropy: 1 }));
            }
            return said;
          };
          const whole = curriculum(setup, options);
          run(whole, 0, before);
          const saved = JSON.stringify(whole.snapshot());
          const after = run(whole, before, 60);
          const resumed = curriculum(setup, options);
          resumed.restore(JSON.parse(saved));
          expect(run(resumed, before, 60)).toEqual(after);
          expect(JSON.stringify(resumed.snapshot())).toBe(JSON.stringify(whole.snapshot()));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("is not changed through a snapshot that was handed out", () => {
    const actor = curriculum(twoPhases(4, 4));
    pick(actor, 1, 2);
    const snapshot = actor.snapshot();
    const text = JSON.stringify(snapshot);
    actor.restore(snapshot);
    pick(actor, 1, 5);
    expect(JSON.stringify(snapshot)).toBe(text);
  });

  it("refuses an empty phase by its bounds, an unknown phase, and a call before setup", () => {
    const actor = curriculum(twoPhases(3, 0));
    expect(() => actor.next(2)).toThrow(/WEIR_E_EMPTY_PHASE.*100 < prompt tokens ≤ 200.*3 tasks/);
    expect(() => actor.next(3)).toThrow(/WEIR_E_STATE.*no phase 3.*1, 2/);
    const bare = createPhasedCurriculum({ retrospective: { mode: "paper", share: 0 }, advance: steps });
    expect(() => bare.next(1)).toThrow(/WEIR_E_STATE.*setup/);
    expect(() => actor.restore({ version: 9 })).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
    expect(() => actor.restore(null)).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
  });

  it("by steps: holds, advances after the phase's steps, finishes after the last", () => {
    const actor = curriculum(twoPhases(3, 3));
    const decide = (step: number, phase: number) => {
      const { action, nextPhase } = actor.decide({ step, phase, meanReward: 1, accuracy: 1, kl: 0, entropy: 1 });
      return [action, nextPhase];
    };
    expect([decide(1, 1), decide(2, 1), decide(3, 2), decide(4, 2)]).toEqual([
      ["hold", null],
      ["advance", 2],
      ["hold", null],
      ["finish", null],
    ]);
  });
});

describe("advancing on evidence of mastery", () => {
  const input = { stepLimit: 50, phases: 3, mayFallBack: true };
  const evidence = (kl: number) => ({ step: 1, phase: 2, meanReward: 0.9, accuracy: 0.8, kl, entropy: 0.3 });

  /** Runs steps with the group rewards and KL given; the actions in order. */
  function actions(
    rewards: readonly number[][],
    kl: readonly number[],
    options = { ...mastery, fallbackThreshold: 0.3 },
  ) {
    let state = FRESH_PHASE;
    return rewards.map((groupRewards, i) => {
      const result = decideAdvance({ ...input, state, evidence: evidence(kl[i] ?? 0), groupRewards }, options);
      state = result.state;
      return result.decision.action;
    });
  }
  const good = [0.9, 0.95, 1, 0.9];

  it("needs the lower bound above the threshold and KL within its limit for calmSteps consecutive steps", () => {
    expect(actions([good, good, good], [])).toEqual(["hold", "hold", "advance"]);
    expect(actions([good, good, good, good, good], [0, 0.2, 0, 0, 0])).toEqual([
      "hold",
      "hold",
      "hold",
      "hold",
      "advance",
    ]);
    // Mean 0.75, but its one-sided 95 % lower bound over 12 groups is 0.515.
    const unsure = [1, 1, 1, 0];
    expect(actions([unsure, unsure, unsure, unsure], [])).toEqual(["hold", "hold", "hold", "hold"]);
  });

  it("falls back where the upper bound stays below the threshold, if it may", () => {
    const bad = [0, 0, 0.1, 0];
    expect(actions([bad, bad, bad], [])).toEqual(["hold", "hold", "fallback"]);
    expect(actions([bad, bad, bad], [], { ...mastery, fallbackThreshold: 0 })).toEqual(["hold", "hold", "hold"]);
  });

  it("falls back from a phase at most once, and the phase's limit of steps holds", () => {
    const setup = twoPhases(3, 3);
    const phases = setup.phases.map((phase) => ({ ...phase, steps: 4 }));
    const advance = { ...mastery, calmSteps: 2, fallbackThreshold: 0.3 };
    const actor = curriculum({ ...setup, phases }, { advance });
    const path: string[] = [];
    let phase = 1;
    for (let step = 1; step <= 40 && path.at(-1) !== "finish"; step++) {
      for (let i = 0; i < 3; i++) actor.observe({ taskId: actor.next(phase).taskId, phase, rewards: [0, 0.01 * i] });
      const decision = actor.decide({ step, phase, meanReward: 0, accuracy: 0, kl: 0, entropy: 1 });
      if (decision.action !== "hold") path.push(decision.action);
      phase = decision.nextPhase ?? phase;
    }
    expect(path).toEqual(["advance", "fallback", "advance", "finish"]);
  });

  it("I1: a step without a scored rollout counts as a step and is no evidence, for or against", () => {
    const nothing = { step: 1, phase: 2, meanReward: null, accuracy: null, kl: null, entropy: null };
    let state = FRESH_PHASE;
    const observe = (groupRewards: readonly number[]) => {
      const given = groupRewards.length === 0 ? nothing : evidence(0);
      const result = decideAdvance({ ...input, state, evidence: given, groupRewards }, mastery);
      state = result.state;
      return result.decision;
    };
    observe(good);
    observe(good);
    const before = state;
    const decision = observe([]);
    expect(decision.action).toBe("hold");
    expect(decision.evidence).toEqual({
      stepsInPhase: 3,
      stepLimit: 50,
      calmSteps: 2,
      poorSteps: 0,
      groups: 8,
      ...bounds(decision),
    });
    expect(state).toEqual({ ...before, steps: 3 });
    expect(observe(good).action).toBe("advance");
  });

  it("takes a step without an update as calm, since nothing moved", () => {
    const still = { ...evidence(0), kl: null };
    let state = FRESH_PHASE;
    for (let i = 0; i < 3; i++)
      state = decideAdvance({ ...input, state, evidence: still, groupRewards: good }, mastery).state;
    expect(state.calm).toBe(3);
  });

  it("never falls back at a threshold of 0, also where rewards are negative, and may at a negative one", () => {
    const low = [-2, -1.9, -2.1, -2];
    expect(actions([low, low, low], [], { ...mastery, fallbackThreshold: 0 })).toEqual(["hold", "hold", "hold"]);
    expect(actions([low, low, low], [], { ...mastery, fallbackThreshold: -1 })).toEqual(["hold", "hold", "fallback"]);
  });

  it("carries its numbers: bounds, counts and the limit", () => {
    const { decision } = decideAdvance(
      { ...input, state: FRESH_PHASE, evidence: evidence(0.05), groupRewards: [1, 0, 1, 1] },
      mastery,
    );
    expect(decision).toMatchObject({ action: "hold", phase: 2, nextPhase: null });
    expect(decision.evidence).toMatchObject({
      stepsInPhase: 1,
      stepLimit: 50,
      meanReward: 0.9,
      accuracy: 0.8,
      kl: 0.05,
      groups: 4,
    });
    // t(0.95, 3 degrees) = 2.35336; s/√n = 0.25.
    expect(decision.evidence.rewardLow).toBeCloseTo(0.75 - 2.3533634 * 0.25, 6);
  });
});

/** The bounds among the numbers of a decision. */
function bounds({ evidence }: { readonly evidence: Readonly<Record<string, number>> }) {
  return { rewardLow: evidence.rewardLow, rewardHigh: evidence.rewardHigh };
}

describe("difficulty of rewards on another scale than 0 to 1", () => {
  it("is judged by the share of `correctAt`: 5 of 10 is half a success, a negative reward none", () => {
    const create = () => {
      const actor = createPhasedCurriculum({
        retrospective: { mode: "weighted", share: 0.5 },
        advance: steps,
        correctAt: 10,
      });
      actor.setup(twoPhases(2, 2));
      return actor;
    };
    const actor = create();
    const first = actor.next(1).taskId;
    actor.observe({ taskId: first, phase: 1, rewards: [10, 5, -4, 0] });
    const records = (actor.snapshot() as { phases: { records: [string, number, number][] }[] }).phases[0]?.records;
    expect(records).toEqual([[first, 1.5, 4]]);
  });
});

describe("what is carried", () => {
  const records = new Map([
    ["b", { successes: 0, trials: 8 }],
    ["a", { successes: 4, trials: 8 }],
    ["c", { successes: 0, trials: 0 }],
  ]);

  it("in the paper's mode is mean 0 with weight 1; weighted has smoothed difficulties and their interval", () => {
    expect(carriedPool("none", records)).toEqual([]);
    expect(carriedPool("paper", records)).toMatchObject([{ id: "b", weight: 1 }]);
    const [a, b] = carriedPool("weighted", records);
    expect(a).toMatchObject({ id: "a", weight: 2 });
    expect(b).toMatchObject({ id: "b", weight: 10 });
    expect((b?.low as number) < 10 && (b?.high as number) > 10).toBe(true);
  });

  it("fits the share: a quarter of the picks are a third of the own tasks", () => {
    expect([carriedQuota(9, 0.25), carriedQuota(9, 0), carriedQuota(9, 1), carriedQuota(3, 0.25)]).toEqual([
      3,
      0,
      Number.POSITIVE_INFINITY,
      1,
    ]);
    expect(chooseCarried([], 3, "paper", () => 0, { seed: 1, phase: 2, epoch: 0 })).toEqual([]);
  });
});
