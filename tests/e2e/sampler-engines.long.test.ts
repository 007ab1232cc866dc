import { afterAll, describe, expect, it } from "vitest";
import { FAST_BACKEND } from "../helpers/engines.js";
import { drawn, run } from "./engines-run.js";
import { endStates, TINY_CHOICE } from "./tiny-run.js";

describe("a run with two sampler engines", () => {
  afterAll(() => {
    delete process.env[TINY_CHOICE];
  });

  it.skipIf(FAST_BACKEND !== "tensorflow")(
    "draws the same tokens with compiled engines, whose trainer computes activations anew instead of keeping those of sampling",
    async () => {
      process.env[TINY_CHOICE] = JSON.stringify({ engine: { backend: FAST_BACKEND } });
      const [own, apart] = [await run(0), await run(2)];
      // Sums of another order: weights are equal up to rounding, here too little for another token.
      expect(drawn(apart)).toEqual(drawn(own));
      expect(await endStates(apart.result.runDirectory)).toEqual(await endStates(own.result.runDirectory));
    },
  );
});
