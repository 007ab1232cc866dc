/** The memory plan: hand-computed sizes, within the budget where possible, monotone in everything. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ModelConfig } from "../../src/model/io/config.js";
import { planMemory, prefixBytes, stateBytes, trialBytes } from "../../src/model/transformer/memory-plan.js";

const CONFIG: ModelConfig = {
  family: "qwen2",
  vocabSize: 1000,
  hiddenSize: 64,
  intermediateSize: 128,
  layers: 4,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  rmsNormEps: 1e-6,
  normOffset: 0,
  activation: "silu",
  embeddingScale: null,
  tieWordEmbeddings: true,
  attentionBias: { q: false, k: false, v: false, o: false },
  mlpBias: false,
  qkNorm: false,
  maxPositions: 1024,
  rope: { type: "default", theta: 10_000, inverseFrequencyDtype: null } as unknown as ModelConfig["rope"],
  eosIds: [],
  padId: null,
  bosId: null,
};
const FUSED = { precision: "bfloat16", fused: true, copies: true, lora: null } as const;
const EAGER = { precision: "float32", fused: false, copies: false, lora: null } as const;

describe("the memory plan", () => {
  it("counts weights, two moments and gradient sums, and the copies of a compiled executor", () => {
    // Embedding 64,000; a layer 64·64·2 + 64·32·2 + 3·64·128 + 2·64 = 36,992; the last norm 64.
    const elements = 64_000 + 4 * 36_992 + 64;
    expect(stateBytes(CONFIG, EAGER)).toBe(16 * elements);
    expect(stateBytes(CONFIG, FUSED)).toBe((16 + 2 + 2) * elements);
  });

  it("counts the copies of a trial step, which are gone while activations are saved", () => {
    const size = { prefixTokens: 4, rowTokens: 4, targets: 4 };
    const elements = 64_000 + 4 * 36_992 + 64;
    const plain = planMemory(CONFIG, EAGER, size, Number.POSITIVE_INFINITY);
    const tried = planMemory(CONFIG, EAGER, { ...size, trial: true }, Number.POSITIVE_INFINITY);
    expect([plain.trialBytes, tried.trialBytes]).toEqual([0, 12 * elements]);
    // Keys of a place of the prompt: 2 · 4 layers · 2 · 16 numbers, kept twice in four bytes.
    expect(tried.peakBytes).toBe(plain.stateBytes + 12 * elements + 4 * 256 * 8 + plain.workBytes);
    expect(tried.text).toMatch(/, or copies of a trial step 0\.00; all layers/);
    // A long micro-batch takes more than the trial.
    const long = { prefixTokens: 40_000, rowTokens: 4, targets: 4 };
    const peaks = [false, true].map(
      (trial) => planMemory(CONFIG, EAGER, { ...long, trial }, Number.POSITIVE_INFINITY).peakBytes,
    );
    expect(peaks[1]).toBe(peaks[0]);
    const lora = { ...EAGER, lora: { rank: 2, alpha: 2, targets: ["q_proj"], seed: 1 } } as never;
    // Factors of rank 2 on 64 × 64 in four layers, and the merged weights.
    expect(trialBytes(CONFIG, lora)).toBe(4 * (3 * 4 * 2 * (64 + 64) + 4 * 64 * 64));
  });

  it("counts cached prompts: keys and values of all layers, activations of those that save them", () => {
    const size = { tokens: 100, slots: 128 };
    // Keys and values of a place in four layers: 2 · 4 · 2 · 16 numbers of two bytes.
    const keys = 512 * 128;
    expect(prefixBytes(CONFIG, FUSED, size, null)).toBe(keys);
    // A layer saves input and middle 512, gate and up 512, two norms 264 of a token; q, o, k, v 384 and a row sum 16 of a
    // place. The last one, and those that are recomputed, save their input and a norm's worth of it.
    const whole = 100 * (512 + 512 + 264) + 128 * (384 + 16);
    expect(prefixBytes(CONFIG, FUSED, size, 4)).toBe(keys + 3 * whole + 100 * 512);
    expect(prefixBytes(CONFIG, FUSED, size, 1)).toBe(keys + whole + 3 * 100 * 512);
  });

  it("saves all activations where the budget allows, and one layer less for each that does not fit", () => {
    const size = { prefixTokens: 4000, rowTokens: 96, targets: 96 };
    const free = planMemory(CONFIG, FUSED, size, Number.POSITIVE_INFINITY);
    expect(free.savedLayers).toBe(4);
    // Beyond its input a layer saves, per token: its middle 256, two norms 256, q and o 256, k and v 128, gate and up
    // 512, and 24 of row sums.
    const perLayer = 4096 * (256 + 256 + 256 + 128 + 512 + 24);
    const tight = planMemory(CONFIG, FUSED, size, free.peakBytes - perLayer - 1);
    expect(tight.savedLayers).toBe(2);
    expect(free.activationBytes - tight.activationBytes).toBe(2 * perLayer);
    expect(tight.text).toContain("2 of 4 layers are recomputed");
    expect(planMemory(CONFIG, FUSED, size, 1).text).toContain("above the budget");
  });

  it("counts packed rows by their tokens, and in attention by the places they are laid out in", () => {
    const plan = (slots: number) =>
      planMemory(
        CONFIG,
        FUSED,
        { prefixTokens: 1000, rowTokens: 24, prefixSlots: slots, rowSlots: 24, targets: 24 },
        Number.POSITIVE_INFINITY,
      );
    // A slot holds q and o 256, k and v 128 and a row sum 16 in each layer; a prefix's keys and values and their
    // gradients 4 · 2 · 32 · 6 besides.
    expect(plan(3000).activationBytes - plan(1000).activationBytes).toBe(
      2000 * (4 * (256 + 128 + 16) + 4 * 2 * 32 * 6),
    );
  });

  it("never saves more under a smaller budget or for a longer micro-batch", () => {
    const size = fc.integer({ min: 1, max: 100_000 });
    fc.assert(
      fc.property(
        size,
        size,
        fc.integer({ min: 1, max: 2 ** 33 }),
        fc.constantFrom(FUSED, EAGER),
        (a, b, budget, form) => {
          const plan = (tokens: number, bytes: number) =>
            planMemory(CONFIG, form, { prefixTokens: tokens, rowTokens: 0, targets: tokens }, bytes);
          const [short, long] = a < b ? [a, b] : [b, a];
          expect(plan(long, budget).savedLayers).toBeLessThanOrEqual(plan(short, budget).savedLayers);
          expect(plan(long, budget / 2).savedLayers).toBeLessThanOrEqual(plan(long, budget).savedLayers);
          const { savedLayers, peakBytes } = plan(long, budget);
          if (savedLayers === CONFIG.layers) expect(peakBytes).toBeLessThanOrEqual(budget);
        },
      ),
    );
  });
});
