/** Owns the conformance suite of advantage actors; the built-ins run it too. */
import assert from "node:assert/strict";
import type { AdvantageActor, AdvantageInput } from "../contracts/advantage.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface AdvantageSuiteOptions extends SuiteOptions {
  readonly create: () => AdvantageActor | Promise<AdvantageActor>;
}

const GROUPS: readonly AdvantageInput[] = [
  { rewards: [1], lengths: [4] },
  { rewards: [1, 0], lengths: [3, 5] },
  { rewards: [1, 0, 0, 1], lengths: [2, 2, 7, 1] },
  { rewards: [0, 0, 0, 0], lengths: [1, 2, 3, 4] },
  { rewards: [1, 1, 1, 1, 1, 1, 1, 0.5], lengths: [9, 8, 7, 6, 5, 4, 3, 2] },
  { rewards: [-1, 0.25, 0.1, 0.1], lengths: [3, 3, 3, 3] },
];

/** Mean advantage of each member, whether it came as one number or per token. */
function means(actor: AdvantageActor, input: AdvantageInput): number[] {
  return actor
    .handle(input)
    .map((value) => (typeof value === "number" ? value : value.reduce((a, b) => a + b, 0) / Math.max(value.length, 1)));
}

export function describeAdvantageActor(options: AdvantageSuiteOptions): void {
  const test = (name: string, check: (actor: AdvantageActor) => void): SuiteTest => ({
    name,
    body: async () => check(await options.create()),
  });
  const tests: readonly SuiteTest[] = [
    test("declares a kind and specification version 1", (actor) => {
      assert.equal(typeof actor.kind, "string");
      assert.notEqual(actor.kind, "");
      assert.equal(actor.specificationVersion, 1);
    }),
    test("returns a number or a per-token array for each member", (actor) => {
      for (const input of GROUPS) {
        const result = actor.handle(input);
        assert.equal(result.length, input.rewards.length, "one entry per member");
        result.forEach((value, g) => {
          if (typeof value !== "number") assert.equal(value.length, input.lengths[g], `tokens of member ${g}`);
        });
      }
    }),
    test("returns finite numbers only, equal rewards included", (actor) => {
      for (const input of GROUPS) {
        for (const value of actor.handle(input).flat()) assert.ok(Number.isFinite(value), `got ${value}`);
      }
    }),
    test("gives the better of two members the greater advantage", (actor) => {
      const [better, worse] = means(actor, { rewards: [1, 0], lengths: [4, 4] }) as [number, number];
      assert.ok(better > worse, `reward 1 got ${better}, reward 0 got ${worse}`);
    }),
    test("gives equal rewards equal advantages", (actor) => {
      const values = means(actor, { rewards: [0.1, 0.1, 0.1], lengths: [4, 4, 4] });
      for (const value of values) assert.equal(value, values[0]);
    }),
    test("keeps no state between groups", (actor) => {
      const first = GROUPS.map((input) => actor.handle(input));
      const again = GROUPS.map((input) => actor.handle(input));
      assert.deepEqual(again, first);
    }),
    test("does not depend on the order of members", (actor) => {
      for (const { rewards, lengths } of GROUPS) {
        const straight = means(actor, { rewards, lengths });
        const reversed = means(actor, { rewards: [...rewards].reverse(), lengths: [...lengths].reverse() }).reverse();
        straight.forEach((value, g) => {
          assert.ok(Math.abs(value - (reversed[g] as number)) < 1e-9, `member ${g}: ${value} and ${reversed[g]}`);
        });
      }
    }),
    test("does not change its input", (actor) => {
      for (const input of GROUPS) actor.handle(deepFreeze(structuredClone(input)));
    }),
  ];
  registerSuite("advantage actor contract", tests, options);
}
