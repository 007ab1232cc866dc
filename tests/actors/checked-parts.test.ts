/** Parts that break their contract: each fault is a coded error that names part, fault and contract, and never a number. */
import { describe, expect, it } from "vitest";
import { PartRegistry, type PartSurroundings } from "../../src/actors/parts/registry.js";
import type { CurriculumActor } from "../../src/contracts/curriculum.js";
import type { Readiness } from "../../src/contracts/readiness.js";
import type { RewardActor, RewardOutcome } from "../../src/contracts/reward.js";
import { WeirError } from "../../src/errors.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";

const task = exampleTask();
const rollout = exampleRollout(task, "Therefore, the answer is Paris.");
const live = { signal: new AbortController().signal };

function surroundings(): PartSurroundings & { readonly reports: WeirError[] } {
  const reports: WeirError[] = [];
  return { reports, publish: () => undefined, report: (error) => reports.push(error) };
}

/** Builds a part from JavaScript's point of view: nothing about it is known to be right. */
function build(
  kind: "advantage" | "reward" | "curriculum" | "judge" | "loss",
  part: unknown,
  around = surroundings(),
): never {
  return new PartRegistry(around).register(kind, "mine", () => part as never).build(kind, { [kind]: "mine" }) as never;
}

const part = (over: object) => ({ kind: "own", specificationVersion: 1, ...over });

async function errorOf(work: () => unknown): Promise<WeirError> {
  try {
    await work();
  } catch (error) {
    if (WeirError.isInstance(error)) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("a loss that gives something else", () => {
  const sequence = { logprobs: [-1, -2], old: [-1, -2], reference: null, advantages: [1, 1], weights: [1, 1] };
  const found = { value: 0, coefficients: [[0, 0]], clipped: 0, clippedLower: 0 };
  const loss = (over: object) =>
    build("loss", part({ aggregation: "token-mean", evaluate: () => found, ...over })) as {
      evaluate(sequences: readonly object[]): Promise<unknown>;
    };

  it.each<[string, () => unknown, RegExp]>([
    ["nothing", () => undefined, /gave undefined/],
    ["no value", () => ({ ...found, value: "0" }), /gave value = "0"/],
    ["no coefficients", () => ({ ...found, coefficients: 1 }), /gave coefficients = 1/],
    ["too few sequences", () => ({ ...found, coefficients: [] }), /coefficients of 0 sequences for 1/],
    ["a sequence without an array", () => ({ ...found, coefficients: [0] }), /gave 0 as coefficients of sequence 0/],
    ["too few tokens", () => ({ ...found, coefficients: [[0]] }), /1 coefficients for sequence 0 of 2 tokens/],
    ["a text", () => ({ ...found, coefficients: [[0, "1"]] }), /gave "1" as the coefficient of token 1/],
    [
      "an exception",
      () => {
        throw new Error("gone");
      },
      /threw in evaluate\(\): Error: gone/,
    ],
  ])("(%s) is WEIR_E_PART", async (_, evaluate, fault) => {
    const error = await errorOf(() => loss({ evaluate }).evaluate([sequence]));
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the loss part "mine"/);
    expect(error.message).toMatch(fault);
  });

  it("takes arrays and typed arrays, and refuses an unknown aggregation", async () => {
    expect(await loss({}).evaluate([sequence])).toEqual(found);
    const typed = { ...found, coefficients: [new Float32Array(2)] };
    expect(await loss({ evaluate: async () => typed }).evaluate([sequence])).toEqual(typed);
    expect((await errorOf(() => loss({ aggregation: "mean" }))).message).toMatch(/has the aggregation "mean"/);
  });
});

describe("a reward that answers with something else", () => {
  const give = (outcome: unknown) => {
    const reward = build("reward", part({ handle: async () => outcome })) as {
      handle(input: object, options: object): Promise<RewardOutcome>;
    };
    return reward.handle({ task, rollout }, live);
  };

  it.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /gave undefined as its outcome/],
    ["a plain number", 0.5, /gave 0\.5 as its outcome/],
    ["no kind", { value: 1, parts: {}, prediction: null }, /unknown kind undefined/],
    ["an unknown kind", { kind: "score", value: 1 }, /unknown kind "score"/],
    ["no parts", { kind: "scored", value: 1, prediction: null }, /parts undefined/],
    ["a part of NaN", { kind: "scored", value: 1, parts: { style: Number.NaN }, prediction: null }, /"style" = NaN/],
    ["a value in a string", { kind: "scored", value: "1", parts: {}, prediction: null }, /the value "1"/],
    ["no prediction", { kind: "scored", value: 1, parts: {} }, /the prediction undefined/],
    ["a failure without a reason", { kind: "failed", code: "E" }, /"failed" with the reason undefined/],
    ["a failure without a code", { kind: "failed", reason: "x" }, /the code undefined/],
    ["a time-out without its time", { kind: "timedOut", reason: "x" }, /timed out after undefined ms/],
    ["an abstention without a reason", { kind: "abstained" }, /abstained with the reason undefined/],
    [
      "a judge that took NaN seconds",
      { kind: "failed", code: "E", reason: "x", judge: { requests: 1, seconds: Number.NaN } },
      /whose judge took NaN seconds/,
    ],
  ])("(%s) is WEIR_E_PART", async (_, outcome, fault) => {
    const error = await errorOf(() => give(outcome));
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the reward part "mine"/);
    expect(error.message).toMatch(fault);
    expect(error.message).toMatch(/for rollout example-1\/0; the contract says: handle\(\) resolves to/);
  });

  it("and one that says nothing clear of its readiness are WEIR_E_PART", async () => {
    const of = (readiness: object) => {
      const reward = build("reward", part({ handle: async () => undefined, readiness })) as RewardActor;
      return reward.readiness as Readiness;
    };
    const said = { ready: false, code: "E", reason: "away", forMs: 3 };
    const state = (value: unknown) => of({ state: () => value, onChange: () => () => undefined }).state();
    expect(state(said)).toEqual(said);
    expect(state({ ready: true })).toEqual({ ready: true });
    for (const wrong of [
      undefined,
      true,
      {},
      { ready: false },
      { ...said, forMs: Number.NaN },
      Promise.resolve(said),
    ]) {
      const error = await errorOf(() => state(wrong));
      expect([error.code, error.message]).toEqual(["WEIR_E_PART", expect.stringContaining("readiness.state()")]);
    }
    const deaf = of({ state: () => said, onChange: () => undefined });
    expect((await errorOf(() => deaf.onChange(() => undefined))).message).toMatch(
      /gave undefined from readiness.onChange/,
    );
  });

  it("(NaN) gives an invalid outcome that names it, and one report for the run", async () => {
    const around = surroundings();
    const broken = part({ handle: async () => ({ kind: "scored", value: Number.NaN, parts: {}, prediction: null }) });
    const reward = build("reward", broken, around) as { handle(...a: object[]): Promise<RewardOutcome> };
    const [first, second] = [
      await reward.handle({ task, rollout }, live),
      await reward.handle({ task, rollout }, live),
    ];
    expect(first.kind).toBe("invalid");
    expect(second).toEqual(first);
    expect(around.reports.map(({ message }) => message)).toEqual([
      expect.stringContaining('WEIR_E_PART: the reward part "mine" scored with the value NaN for rollout example-1/0'),
    ]);
  });

  it("by throwing has failed for that rollout, and the outcome names it", async () => {
    const reward = build("reward", part({ handle: () => Promise.reject(new Error("no network")) })) as {
      handle(...a: object[]): Promise<RewardOutcome>;
    };
    expect(await reward.handle({ task, rollout }, live)).toEqual({
      kind: "failed",
      code: "WEIR_E_PART",
      reason: 'the reward part "mine" threw: Error: no network',
    });
  });
});

describe("a judge that answers with something else", () => {
  const ask = (answer: () => unknown) => {
    const judge = build("judge", part({ ask: async () => answer() })) as { ask(...a: object[]): Promise<unknown> };
    return judge.ask({ problem: "p", prediction: "a", gold: "b" }, live);
  };

  it.each<[string, unknown, RegExp]>([
    ["a boolean", true, /gave true as its verdict/],
    ["half a point", { kind: "verdict", value: 0.5, reply: "" }, /the verdict 0\.5/],
    ["no reply", { kind: "verdict", value: 1 }, /the reply undefined/],
    ["an unknown kind", { kind: "yes" }, /unknown kind "yes"/],
    ["a failure without a code", { kind: "failed", reason: "x" }, /the code undefined/],
  ])("(%s) is WEIR_E_PART", async (_, verdict, fault) => {
    const error = await errorOf(() => ask(() => verdict));
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the judge part "mine"/);
    expect(error.message).toMatch(fault);
  });

  it("by throwing gives a failed verdict that names it", async () => {
    const verdict = await ask(() => {
      throw new TypeError("fetch failed");
    });
    expect(verdict).toEqual({
      kind: "failed",
      code: "WEIR_E_PART",
      reason: 'the judge part "mine" threw: TypeError: fetch failed',
    });
  });
});

describe("a judge that answers a conversation with something else", () => {
  const chat = (answer: () => unknown) => {
    const own = part({ ask: async () => null, chat: async () => answer() });
    const judge = build("judge", own) as { chat(...a: object[]): Promise<unknown> };
    return judge.chat([{ role: "user", content: "Count." }], { ...live, maxTokens: 9 });
  };

  it.each<[string, unknown, RegExp]>([
    ["a text", "three", /gave "three" as its reply/],
    ["no text", { kind: "reply" }, /the text undefined/],
    ["a verdict", { kind: "verdict", value: 1, reply: "" }, /unknown kind "verdict"/],
    ["a failure without a code", { kind: "failed", reason: "x" }, /the code undefined/],
  ])("(%s) is WEIR_E_PART", async (_, reply, fault) => {
    const error = await errorOf(() => chat(() => reply));
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the judge part "mine"/);
    expect(error.message).toMatch(fault);
  });

  it("by throwing gives a failed reply that names it", async () => {
    const reply = await chat(() => {
      throw new TypeError("fetch failed");
    });
    expect(reply).toEqual({
      kind: "failed",
      code: "WEIR_E_PART",
      reason: 'the judge part "mine" threw: TypeError: fetch failed',
    });
  });

  it("has no conversations where it offers none", () => {
    expect(build("judge", part({ ask: async () => null }))).not.toHaveProperty("chat");
  });
});

describe("an advantage that answers with something else", () => {
  const handle = (answer: (input: { rewards: readonly number[] }) => unknown) =>
    errorOf(() => {
      const actor = build("advantage", part({ handle: answer })) as { handle(input: object): unknown };
      return actor.handle({ rewards: [1, 0], lengths: [3, 2] });
    });

  it.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /gave undefined as advantages/],
    ["one entry too few", [1], /gave 1 entries for 2 members/],
    ["NaN", [Number.NaN, 0], /gave NaN for member 0/],
    ["an infinity", [0, Number.NEGATIVE_INFINITY], /gave -Infinity for member 1/],
    ["a token too many", [0, [1, 1, 1]], /gave 3 values for member 1 of 2 tokens/],
    ["a NaN at a token", [[0, Number.NaN, 0], 0], /gave NaN for token 1 of member 0/],
    ["a string", ["1", "0"], /gave "1" for member 0/],
    ["a promise", Promise.resolve([1, 0]), /gave a Promise from handle\(\), which has to answer at once/],
  ])("(%s) is WEIR_E_PART", async (_, advantages, fault) => {
    const error = await handle(() => advantages);
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the advantage part "mine"/);
    expect(error.message).toMatch(fault);
  });

  it("by throwing is WEIR_E_PART with the cause", async () => {
    const error = await handle(({ rewards }) => (rewards as unknown as { deep: { er: number } }).deep.er);
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the advantage part "mine" threw in handle\(\): TypeError/);
    expect(error.cause).toBeInstanceOf(TypeError);
  });
});

describe("a curriculum that answers with something else", () => {
  const setup = {
    tasks: [
      { id: "a", promptTokens: 10 },
      { id: "b", promptTokens: 150 },
    ],
    phases: [
      { k: 1, minTokens: 0, maxTokens: 100, steps: 2 },
      { k: 2, minTokens: 100, maxTokens: 200, steps: 2 },
    ],
    seed: 1,
  };
  const right = {
    setup: () => undefined,
    next: () => ({ taskId: "a", carried: false, visit: 0 }),
    observe: () => undefined,
    decide: () => ({ action: "hold", phase: 1, nextPhase: null, reason: "r", evidence: {} }),
    snapshot: () => ({ version: 1 }),
    restore: () => undefined,
  };
  const curriculum = (over: object): CurriculumActor => {
    const actor: CurriculumActor = build("curriculum", part({ ...right, ...over }));
    actor.setup(setup);
    return actor;
  };
  const evidence = { step: 1, phase: 1, meanReward: 0.5, accuracy: 0.5, kl: 0, entropy: 1 };

  it.each<[string, unknown, RegExp]>([
    [
      "a task that nobody knows",
      { taskId: "c", carried: false, visit: 0 },
      /picked the task "c" in phase 1, which is none of the 2/,
    ],
    ["nothing", undefined, /gave undefined as the next task of phase 1/],
    ["no visit", { taskId: "a", carried: false }, /visit = undefined/],
    ["a visit of −1", { taskId: "a", carried: false, visit: -1 }, /visit = -1/],
    ["no carried", { taskId: "a", visit: 0 }, /carried = undefined/],
  ])("(picking %s) is WEIR_E_PART", async (_, pick, fault) => {
    const error = await errorOf(() => curriculum({ next: () => pick }).next(1));
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(/the curriculum part "mine"/);
    expect(error.message).toMatch(fault);
  });

  it.each<[string, object, RegExp]>([
    ["to a phase beyond the last", { action: "advance", nextPhase: 3 }, /"advance" from phase 1 to phase 3 of 2/],
    ["to phase 0", { action: "fallback", nextPhase: 0 }, /"fallback" from phase 1 to phase 0 of 2/],
    ["to half a phase", { action: "advance", nextPhase: 1.5 }, /to phase 1\.5/],
    ["to hold, with a next phase", { action: "hold", nextPhase: 2 }, /"hold" with nextPhase 2/],
    ["something unknown", { action: "jump" }, /unknown action "jump"/],
    ["for another phase", { phase: 2 }, /decided for phase 2 when asked about phase 1/],
    ["on evidence of NaN", { evidence: { reward: Number.NaN } }, /evidence "reward" = NaN/],
    ["without a reason", { reason: undefined }, /the reason undefined/],
  ])("(deciding %s) is WEIR_E_PART", async (_, decision, fault) => {
    const error = await errorOf(() =>
      curriculum({ decide: () => ({ ...right.decide(), ...decision }) }).decide(evidence),
    );
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(fault);
  });

  it.each<[string, unknown, RegExp]>([
    ["a Map", { seen: new Map() }, /snapshot\.seen = Map/],
    ["an undefined", { a: [{ b: undefined }] }, /snapshot\.a\.0\.b = undefined/],
    ["a NaN", [Number.NaN], /snapshot\.0 = NaN/],
    ["nothing", undefined, /snapshot = undefined/],
  ])("(a snapshot with %s) is WEIR_E_PART, since a resumed run would lose it", async (_, snapshot, fault) => {
    const error = await errorOf(() => curriculum({ snapshot: () => snapshot }).snapshot());
    expect(error.code).toBe("WEIR_E_PART");
    expect(error.message).toMatch(fault);
  });

  it.each(["setup", "next", "observe", "decide", "snapshot", "restore"] as const)(
    "that throws in %s() is WEIR_E_PART naming the call",
    async (method) => {
      const broken = {
        [method]: () => {
          throw new RangeError("out of tasks");
        },
      };
      const error = await errorOf(() => {
        const actor = curriculum(broken);
        if (method === "next") return actor.next(1);
        if (method === "observe") return actor.observe({ taskId: "a", phase: 1, rewards: [1] });
        if (method === "decide") return actor.decide(evidence);
        if (method === "snapshot") return actor.snapshot();
        return actor.restore(null);
      });
      expect(error.code).toBe("WEIR_E_PART");
      expect(error.message).toContain(`threw in ${method}(): RangeError: out of tasks`);
    },
  );

  it.each(["setup", "next", "observe", "decide", "snapshot", "restore"] as const)(
    "whose %s() is asynchronous is WEIR_E_PART, and its rejection ends nothing else",
    async (method) => {
      const slow = { [method]: () => Promise.reject(new Error("too late")) };
      const error = await errorOf(() => {
        const actor = curriculum(slow);
        actor.next(1);
        actor.observe({ taskId: "a", phase: 1, rewards: [1] });
        actor.decide(evidence);
        actor.snapshot();
        actor.restore(null);
      });
      expect(error.code).toBe("WEIR_E_PART");
      expect(error.message).toContain(`gave a Promise from ${method}(), which has to answer at once`);
    },
  );

  it("keeps its own coded errors", async () => {
    const empty = curriculum({
      next: () => {
        throw new WeirError("WEIR_E_EMPTY_PHASE", "phase 1 is empty");
      },
    });
    expect((await errorOf(() => empty.next(1))).code).toBe("WEIR_E_EMPTY_PHASE");
  });
});

describe("something that is no part", () => {
  it.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /is undefined/],
    ["a number", 7, /is 7/],
    ["a promise of a part", Promise.resolve(part({ handle: () => [] })), /is a Promise.*await what it needs before/],
    ["an object without the method", part({}), /lacks handle\(\)/],
    ["a part of version 3", part({ specificationVersion: 3, handle: () => [] }), /has specificationVersion 3/],
    ["a part without a version", { kind: "x", handle: () => [] }, /has specificationVersion undefined/],
    ["a part without a kind", { specificationVersion: 1, handle: () => [] }, /has the kind undefined/],
    ["a part with a kind of no letters", part({ kind: "", handle: () => [] }), /has the kind ""/],
    ["a part whose dispose is none", part({ handle: () => [], dispose: true }), /has dispose = true/],
  ])("(%s) is refused when it is built, and when it is given", async (_, given, fault) => {
    const built = await errorOf(() => build("advantage", given));
    const used = await errorOf(() => new PartRegistry().use("advantage", given as never));
    for (const error of [built, used]) {
      expect(error.code).toBe("WEIR_E_PART");
      expect(error.message).toMatch(fault);
      expect(error.message).toContain("the contract says: ");
    }
  });

  it("(a factory that throws, a class that needs new) is WEIR_E_PART naming the part", async () => {
    class Mine {
      readonly kind = "mine";
    }
    for (const [factory, text] of [
      [() => JSON.parse("{"), /could not be made: SyntaxError/],
      [Mine, /could not be made: TypeError: Class constructor Mine/],
    ] as const) {
      const registry = new PartRegistry().register("reward", "mine", factory as never);
      const error = await errorOf(() => registry.build("reward", { reward: "mine" }));
      expect(error.code).toBe("WEIR_E_PART");
      expect(error.message).toMatch(/the reward part "mine"/);
      expect(error.message).toMatch(text);
    }
  });

  it("(a kind of part that does not exist) names the nearest", async () => {
    const error = await errorOf(() => new PartRegistry().register("rewards" as never, "x", () => undefined as never));
    expect(error.message).toMatch(/WEIR_E_ACTOR_UNKNOWN.*"rewards"; did you mean "reward"\?/);
  });
});

describe("a part that keeps its contract", () => {
  it("shows whatever else it carries, as it is, and its methods keep their own fields", () => {
    class Counted {
      readonly kind = "counted";
      readonly specificationVersion = 1;
      readonly needs = 4;
      #groups = 0;
      get groups(): number {
        return this.#groups;
      }
      handle({ rewards }: { readonly rewards: readonly number[] }): readonly number[] {
        this.#groups++;
        return rewards;
      }
      history(): string {
        return `${this.#groups} groups`;
      }
    }
    const checked: Counted = build("advantage", new Counted());
    expect(checked.handle({ rewards: [1, 0], lengths: [1, 1] } as never)).toEqual([1, 0]);
    expect([checked.kind, checked.needs, checked.groups, checked.history()]).toEqual(["counted", 4, 1, "1 groups"]);
    // What a spread copies is the compiler's guess for classes: methods of the prototype are missing from its type.
    const spread = { ...checked } as Counted;
    expect([spread.kind, spread.specificationVersion, spread.needs, spread.history()]).toEqual([
      "counted",
      1,
      4,
      "1 groups",
    ]);
  });
});

describe("a part that fails to let go", () => {
  it("is reported with its name, and nothing else is kept from being closed", async () => {
    const around = surroundings();
    const dispose = () => {
      throw new Error("socket busy");
    };
    const reward = build("reward", part({ handle: async () => undefined, dispose }), around) as {
      dispose(): Promise<void>;
    };
    await reward.dispose();
    expect(around.reports.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^WEIR_E_PART: the reward part "mine" threw in dispose\(\): Error: socket busy/),
    ]);
  });
});
