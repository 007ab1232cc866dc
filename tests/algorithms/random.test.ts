import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  below,
  choice,
  counterKey,
  murmur3,
  normal,
  philox2x32,
  shuffled,
  uint32,
  uniform,
} from "../../src/algorithms/random.js";

describe("counter-based randomness (I12)", () => {
  it("gives the published Philox-2x32-10 vectors (Random123 kat_vectors)", () => {
    expect(philox2x32(0, 0, 0)).toEqual([0xff1dae59, 0x6cd10df2]);
    expect(philox2x32(0xffffffff, 0xffffffff, 0xffffffff)).toEqual([0x2c3f628b, 0xab4fd7ad]);
    expect(philox2x32(0x243f6a88, 0x85a308d3, 0x13198a2e)).toEqual([0xdd7ce038, 0xf62a4c12]);
  });

  it("gives the published MurmurHash3_x86_32 values", () => {
    const bytes = (text: string) => new TextEncoder().encode(text);
    expect(murmur3(bytes(""), 0)).toBe(0);
    expect(murmur3(bytes(""), 1)).toBe(0x514e28b7);
    expect(murmur3(bytes("test"), 0)).toBe(0xba6bd213);
    expect(murmur3(bytes("Hello, world!"), 0)).toBe(0xc0363e43);
    expect(murmur3(bytes("The quick brown fox jumps over the lazy dog"), 0)).toBe(0x2e4ff723);
  });

  it("keeps fields of different types and boundaries apart", () => {
    const keys = [
      counterKey(1, "sample", 1),
      counterKey(1, "sample", "1"),
      counterKey(1, "sample", "ab", "c"),
      counterKey(1, "sample", "a", "bc"),
      counterKey(1, "sampl", "e1"),
      counterKey(2, "sample", 1),
      counterKey(1, "sample", 1, 0),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(counterKey(1, "sample", -0)).toBe(counterKey(1, "sample", 0));
    expect(() => counterKey(Number.NaN, "sample")).toThrow(/WEIR_E_SHAPE/);
  });

  it("pins the bits, so that a run can be repeated by a later version", () => {
    expect(counterKey(7, "rollout", 1, "task-3", 0)).toBe(counterKey(7, "rollout", 1, "task-3", 0));
    expect(uint32(123, 4)).toBe(philox2x32(4, 0, 123)[0]);
    expect(uint32(123, 2 ** 32 + 4)).toBe(philox2x32(4, 1, 123)[0]);
  });

  it("is uniform: mean 1/2, variance 1/12, ten equal bins", () => {
    const n = 20000;
    const values = Array.from({ length: n }, (_, i) => uniform(99, i));
    const mean = values.reduce((a, b) => a + b, 0) / n;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.01);
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.002);
    for (let bin = 0; bin < 10; bin++) {
      const share = values.filter((v) => Math.floor(v * 10) === bin).length / n;
      expect(Math.abs(share - 0.1)).toBeLessThan(0.01);
    }
  });

  it("draws normal numbers of mean 0 and variance 1", () => {
    const values = Array.from({ length: 20000 }, (_, i) => normal(5, i));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(values.reduce((a, b) => a + b * b, 0) / values.length - 1)).toBeLessThan(0.05);
  });

  it("shuffles to a permutation that only the key decides", () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { maxLength: 40 }), fc.nat(), (items, key) => {
        const once = shuffled(items, key);
        expect([...once].sort((a, b) => a - b)).toEqual([...items].sort((a, b) => a - b));
        expect(shuffled(items, key)).toEqual(once);
      }),
    );
    expect(shuffled([1, 2, 3, 4, 5, 6, 7, 8], 1)).not.toEqual(shuffled([1, 2, 3, 4, 5, 6, 7, 8], 2));
  });

  it("chooses one of what there is, and nothing of nothing", () => {
    expect(() => choice([], 3, 0)).toThrow(/WEIR_E_SHAPE/);
    expect(below(1, 3, 0)).toBe(0);
  });
});
