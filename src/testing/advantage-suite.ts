/** The conformance suite of advantage parts; the built-ins run it too. */
import assert from "node:assert/strict";
import type { AdvantageGroup, AdvantageInput, AdvantagePart, GroupAdvantages } from "../contracts/advantage.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface AdvantageSuiteOptions extends SuiteOptions {
  readonly create: () => AdvantagePart | Promise<AdvantagePart>;
}

const GROUPS: readonly AdvantageInput[] = [
  { rewards: [1], lengths: [4] },
  { rewards: [1, 0], lengths: [3, 5] },
  { rewards: [1, 0, 0, 1], lengths: [2, 2, 7, 1] },
  { rewards: [0, 0, 0, 0], lengths: [1, 2, 3, 4] },
  { rewards: [1, 1, 1, 1, 1, 1, 1, 0.5], lengths: [9, 8, 7, 6, 5, 4, 3, 2] },
  { rewards: [-1, 0.25, 0.1, 0.1], lengths: [3, 3, 3, 3] },
];

/** A group in the form that batch-aware advantages receive. */
function groupOf({ rewards, lengths }: AdvantageInput, p = 0): AdvantageGroup {
  return {
    taskId: `task-${p}`,
    source: "suite",
    phase: 1,
    members: rewards.map((reward, g) => {
      const tokens = Array.from({ length: lengths[g] as number }, (_, t) => t);
      return {
        reward,
        unshaped: reward,
        parts: { rule: reward },
        tokenIds: tokens,
        entropies: tokens.map(() => 1),
        samplerLogprobs: tokens.map(() => -1),
        finish: "stop",
      };
    }),
  };
}

/** The advantages of one group; an advantage that sees its batch is given a batch of that group. */
async function advantagesOf(actor: AdvantagePart, input: AdvantageInput): Promise<GroupAdvantages> {
  if (actor.specificationVersion !== 2) return actor.handle(input);
  const groups = await actor.handle([groupOf(input)], { signal: new AbortController().signal });
  assert.equal(groups.length, 1, "one entry per group");
  return groups[0] as GroupAdvantages;
}

/** Mean advantage of each member, whether it came as one number or per token. */
async function means(actor: AdvantagePart, input: AdvantageInput): Promise<number[]> {
  return (await advantagesOf(actor, input)).map((value) =>
    typeof value === "number" ? value : value.reduce((a, b) => a + b, 0) / Math.max(value.length, 1),
  );
}

/** Of an advantage of version 1 or 2; one that sees its batch is run on batches too. */
export function describeAdvantageActor(options: AdvantageSuiteOptions): void {
  const test = (name: string, check: (actor: AdvantagePart) => void | Promise<void>): SuiteTest => ({
    name,
    body: async () => await check(await options.create()),
  });
  const tests: readonly SuiteTest[] = [
    test("declares a kind and specification version 1 or 2", (actor) => {
      assert.equal(typeof actor.kind, "string");
      assert.notEqual(actor.kind, "");
      assert.ok([1, 2].includes(actor.specificationVersion), `got ${actor.specificationVersion}`);
    }),
    test("returns a number or a per-token array for each member", async (actor) => {
      for (const input of GROUPS) {
        const result = await advantagesOf(actor, input);
        assert.equal(result.length, input.rewards.length, "one entry per member");
        result.forEach((value, g) => {
          if (typeof value !== "number") assert.equal(value.length, input.lengths[g], `tokens of member ${g}`);
        });
      }
      if (actor.specificationVersion !== 2) return;
      const batch = await actor.handle(GROUPS.map(groupOf), { signal: new AbortController().signal });
      assert.deepEqual(
        batch.map((group) => group.length),
        GROUPS.map(({ rewards }) => rewards.length),
        "the groups of a batch, in order",
      );
    }),
    test("returns finite numbers only, equal rewards included", async (actor) => {
      for (const input of GROUPS) {
        for (const value of (await advantagesOf(actor, input)).flat())
          assert.ok(Number.isFinite(value), `got ${value}`);
      }
    }),
    test("gives the better of two members the larger advantage", async (actor) => {
      const [better, worse] = (await means(actor, { rewards: [1, 0], lengths: [4, 4] })) as [number, number];
      assert.ok(better > worse, `reward 1 got ${better}, reward 0 got ${worse}`);
    }),
    test("gives equal rewards equal advantages", async (actor) => {
      const values = await means(actor, { rewards: [0.1, 0.1, 0.1], lengths: [4, 4, 4] });
      for (const value of values) assert.equal(value, values[0]);
    }),
    test("keeps no state between groups", async (actor) => {
      const all = async () => {
        const results: GroupAdvantages[] = [];
        for (const input of GROUPS) results.push(await advantagesOf(actor, input));
        return results;
      };
      const first = await all();
      assert.deepEqual(await all(), first);
    }),
    test("does not depend on the order of members", async (actor) => {
      for (const { rewards, lengths } of GROUPS) {
        const straight = await means(actor, { rewards, lengths });
        const turned = { rewards: [...rewards].reverse(), lengths: [...lengths].reverse() };
        const reversed = (await means(actor, turned)).reverse();
        straight.forEach((value, g) => {
          assert.ok(Math.abs(value - (reversed[g] as number)) < 1e-9, `member ${g}: ${value} and ${reversed[g]}`);
        });
      }
    }),
    test("does not change its input", async (actor) => {
      const { signal } = new AbortController();
      for (const input of GROUPS) {
        if (actor.specificationVersion !== 2) actor.handle(deepFreeze(structuredClone(input)));
        else await actor.handle([deepFreeze(groupOf(input))], { signal });
      }
    }),
  ];
  registerSuite("advantage actor contract", tests, options);
}
