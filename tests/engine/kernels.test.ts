/** weir's kernels against plain float64, at odd sizes, in both element types; not finite in, not finite out; same bits. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { normal } from "../../src/algorithms/random.js";
import {
  type Given,
  type GraphNode,
  type KernelAttributes,
  type Kernels,
  type KernelType,
  openKernels,
} from "../helpers/kernel-calls.js";
import * as reference from "../helpers/kernel-references.js";

const opened = openKernels("kernels");
const { run, runGraph } = opened ?? ({} as Kernels);

const TYPES: readonly KernelType[] = ["float32", "bfloat16"];
const SIZES = [
  [1, 24],
  [3, 512],
  [130, 577],
] as const;
const EPSILON = 1e-6;
const NONE: Given = { shape: [0], values: new Float32Array(0) };

const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Rounds to the nearest bfloat16, ties to even. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
}

/** Normal numbers of a fixed seed, already rounded to `type`. */
function noise(key: number, shape: readonly number[], type: KernelType = "float32", scale = 1): Given {
  const values = Float32Array.from({ length: count(shape) }, (_, i) => scale * normal(key, i));
  return { shape, values: type === "bfloat16" ? values.map(toBfloat16) : values, type };
}

const NO_OFFSETS: Given = { shape: [0], values: new Int32Array(0) };

const integers = (values: readonly number[]): Given => ({ shape: [values.length], values: Int32Array.from(values) });

/**
 * float32 within 1e-5 of the value, or of the usual size of the terms that it is the sum of; bfloat16 within its own
 * rounding besides.
 */
function expectClose(
  found: Float32Array,
  wanted: readonly number[],
  type: KernelType = "float32",
  sizes: readonly number[] = wanted,
): void {
  expect(found.length).toBe(wanted.length);
  const usual = sizes.reduce((sum, size) => sum + Math.abs(size), 0) / Math.max(1, sizes.length);
  const far = wanted.flatMap((value, i) => {
    const allowed = 1e-5 * Math.max(Math.abs(sizes[i]!), usual) + (type === "bfloat16" ? Math.abs(value) / 256 : 0);
    return Math.abs(found[i]! - value) <= allowed ? [] : [{ i, found: found[i], wanted: value }];
  });
  expect(far).toEqual([]);
}

describe.skipIf(opened === null)("norms", () => {
  for (const type of TYPES) {
    for (const [rows, d] of SIZES) {
      const shape = [rows, d];
      const w = noise(2, [d]);
      const attributes = { epsilon: EPSILON, T: type };

      it(`${rows}×${d}, ${type}: x·r·w`, () => {
        const x = noise(1, shape);
        const [n, r] = run("WeirRmsNorm", attributes, [x, w], 2);
        const wanted = reference.rmsNorm(x.values, w.values, EPSILON);
        expectClose(n!, wanted.n, type);
        expectClose(r!, wanted.r);
      });

      it(`${rows}×${d}, ${type}: of a sum, with and without bias`, () => {
        const x = noise(1, shape);
        const y = noise(3, shape, type);
        for (const bias of [NONE, noise(4, [d])]) {
          const [sum, n, r] = run("WeirAddRmsNorm", attributes, [x, y, bias, w], 3);
          const wantedSum = Array.from(x.values, (value, i) => value + y.values[i]! + (bias.values[i % d] ?? 0));
          const wanted = reference.rmsNorm(wantedSum, w.values, EPSILON);
          expectClose(sum!, wantedSum);
          expectClose(n!, wanted.n, type);
          expectClose(r!, wanted.r);
        }
      });

      it(`${rows}×${d}, ${type}: gradient of one and of three parts, with and without residual`, () => {
        const x = noise(1, shape);
        const r = run("WeirRmsNorm", attributes, [x, w], 2)[1]!;
        for (const K of [1, 3]) {
          const dns = Array.from({ length: K }, (_, k) => noise(5 + k, shape, type));
          for (const residual of [NONE, noise(9, shape)]) {
            const inputs = [x, { shape: [rows, 1], values: r }, w, residual, ...dns];
            const [dx, dw] = run("WeirRmsNormGrad", { K, T: type }, inputs, 2);
            const wanted = reference.rmsNormGrad(
              x.values,
              r,
              w.values,
              residual === NONE ? null : residual.values,
              dns.map(({ values }) => values),
            );
            expectClose(dx!, wanted.dx);
            expectClose(dw!, wanted.dw);
          }
        }
      });
    }
  }
});

describe.skipIf(opened === null)("products", () => {
  /**
   * Sizes with and without rests of stripes, panels and words; one sum is longer than one part of it, and the last result
   * has several tiles of rows and more than one group of columns.
   */
  const SHAPES = [
    [1, 1, 1],
    [7, 70, 3],
    [97, 130, 66],
    [13, 17, 4099],
    [200, 2100, 5],
  ] as const;
  const transposed = ({ shape, values, type = "float32" }: Given): Given => {
    const [rows, columns] = shape as [number, number];
    const turned = Float32Array.from({ length: values.length }, (_, i) => {
      const [row, column] = [i % rows, Math.floor(i / rows)];
      return values[row * columns + column] as number;
    });
    return { shape: [columns, rows], values: turned, type };
  };

  for (const type of TYPES) {
    for (const [m, n, k] of SHAPES) {
      const a = noise(1, [m, k], type);
      const b = noise(2, [k, n], type);
      const plus = noise(3, [m, n]);
      const terms = (start: (i: number) => number, term: (x: number) => number) =>
        Array.from({ length: m * n }, (_, i) => {
          let sum = start(i);
          for (let j = 0; j < k; j += 1) {
            sum += term(a.values[Math.floor(i / n) * k + j]! * b.values[j * n + (i % n)]!);
          }
          return sum;
        });
      const wanted = terms(() => 0, Number);
      const sizes = terms(() => 0, Math.abs);

      it(`${m}×${n}×${k}, ${type}: either side as it is or transposed`, () => {
        for (const transpose_a of [0, 1]) {
          for (const transpose_b of [0, 1]) {
            const sides = [transpose_a ? transposed(a) : a, transpose_b ? transposed(b) : b];
            const attributes = { transpose_a, transpose_b, T: type, S: type };
            const [c] = run("WeirProduct", attributes, [...sides, NONE], 1);
            expectClose(c!, wanted, type, sizes);
          }
        }
      });

      it(`${m}×${n}×${k}, ${type}: added to something, in float32`, () => {
        const sums = terms((i) => plus.values[i]!, Number);
        for (const transpose_a of [0, 1]) {
          const attributes = { transpose_a, transpose_b: 0, T: type, S: "float32" as const };
          const [c] = run("WeirProduct", attributes, [transpose_a ? transposed(a) : a, b, plus], 1);
          expectClose(c!, sums, "float32", sizes);
        }
      });
    }
  }

  it("what is not finite stays in its row or column", () => {
    const a = noise(1, [40, 20]);
    a.values[3 * 20 + 5] = Number.NaN;
    const b = noise(2, [20, 30]);
    const [c] = run("WeirProduct", { transpose_a: 0, transpose_b: 0, T: "float32", S: "float32" }, [a, b, NONE], 1);
    const rows = new Set(Array.from(c!, (value, i) => (Number.isFinite(value) ? -1 : Math.floor(i / 30))));
    expect([...rows].sort()).toEqual([-1, 3]);
  });

  it("refuses sides that do not fit", () => {
    const attributes = { transpose_a: 0, transpose_b: 0, T: "float32" as const, S: "float32" as const };
    expect(() => run("WeirProduct", attributes, [noise(1, [4, 3]), noise(2, [4, 5]), NONE], 1)).toThrow(/inner sizes/);
  });
});

describe.skipIf(opened === null)("the gated activation", () => {
  for (const type of TYPES) {
    for (const shape of SIZES) {
      it(`${shape.join("×")}, ${type}: value and gradient`, () => {
        const [d, gate, up] = [noise(1, shape, type), noise(2, shape, type, 4), noise(3, shape, type)];
        const [act] = run("WeirSwiGlu", { T: type }, [gate, up], 1);
        expectClose(act!, reference.swiGlu(gate.values, up.values), type);
        const [dGate, dUp, again] = run("WeirSwiGluGrad", { T: type }, [d, gate, up], 3);
        const wanted = reference.swiGluGrad(d.values, gate.values, up.values);
        expectClose(dGate!, wanted.dGate, type);
        expectClose(dUp!, wanted.dUp, type);
        expectClose(again!, wanted.act, type);
      });
    }
  }

  it("is right far out", () => {
    const gate = { shape: [6], values: Float32Array.of(-200, -90, -1e-30, 0, 90, 1e30) };
    const up = { shape: [6], values: new Float32Array(6).fill(1) };
    const [act] = run("WeirSwiGlu", { T: "float32" }, [gate, up], 1);
    expect(Array.from(act!, Math.abs)).toEqual([0, 0, Math.fround(5e-31), 0, 90, Math.fround(1e30)]);
  });
});

describe.skipIf(opened === null)("rotary heads", () => {
  const LAYOUTS = [
    { prompts: 1, group: 1, kv: 1, heads_per_kv: 1, length: 1, dh: 8 },
    { prompts: 2, group: 3, kv: 2, heads_per_kv: 2, length: 5, dh: 24 },
    { prompts: 3, group: 1, kv: 1, heads_per_kv: 3, length: 4, dh: 64 },
  ];
  for (const type of TYPES) {
    for (const { dh, ...layout } of LAYOUTS) {
      const { prompts, group, kv, heads_per_kv, length } = layout;
      const heads = kv * heads_per_kv;
      const byToken = [prompts * group * length, heads * dh];
      const byHead = [prompts * kv * group * heads_per_kv, length, dh];
      const full = { ...layout, tokens: prompts * group * length };
      const table = (key: number, blocks: number) => noise(key, [blocks, 1, length * dh]);
      const turns = [NONE, table(5, 1), table(6, prompts)].map((cos) =>
        cos === NONE ? { cos, sin: NONE, plain: null } : turnOf(cos),
      );
      function turnOf(cos: Given) {
        const sin = noise(7, cos.shape);
        return { cos, sin, plain: { cos: cos.values, sin: sin.values } };
      }

      it(`${Object.values(layout).join("·")}·${dh}, ${type}: to heads and back`, () => {
        const x = noise(1, byToken, type);
        const dy = noise(3, byHead);
        for (const { cos, sin, plain } of turns) {
          for (const bias of [NONE, noise(2, [heads * dh])]) {
            const [y] = run("WeirRopeHeads", { ...full, T: type }, [x, bias, cos, sin, NO_OFFSETS], 1);
            const added = bias === NONE ? null : bias.values;
            expectClose(y!, reference.ropeHeads(x.values, added, plain, layout, dh), type);
          }
          for (const S of TYPES) {
            const given = {
              ...dy,
              values: S === "bfloat16" ? (dy.values as Float32Array).map(toBfloat16) : dy.values,
              type: S,
            };
            const [dx] = run("WeirRopeHeadsGrad", { ...full, S, T: type }, [given, cos, sin, NO_OFFSETS], 1);
            expectClose(dx!, reference.ropeHeadsGrad(given.values, plain, layout, dh), type);
          }
        }
      });

      it(`${Object.values(layout).join("·")}·${dh}, ${type}: packed rows to heads and back`, () => {
        const width = heads * dh;
        const rows = Array.from({ length: prompts * group }, (_, row) => (row * 3 + 2) % (length + 1));
        const starts = rows.map((_, row) => rows.slice(0, row).reduce((sum, own) => sum + own, 0));
        const end = rows.reduce((sum, own) => sum + own, 0);
        const tokens = end + 3;
        const offsets = integers([...starts, end]);
        /** The same values at full length, zeros where a row has ended. */
        const spread = (packed: ArrayLike<number>, per = width) => {
          const values = new Float32Array(prompts * group * length * per);
          rows.forEach((own, row) => {
            for (let i = 0; i < own * per; i += 1) values[row * length * per + i] = packed[starts[row]! * per + i]!;
          });
          return values;
        };
        const gathered = (padded: readonly number[]) => [
          ...rows.flatMap((own, row) => padded.slice(row * length * width, (row * length + own) * width)),
          ...new Array<number>(3 * width).fill(0),
        ];
        const x = noise(1, [tokens, width], type);
        const dy = noise(3, byHead, type);
        for (const { cos, sin, plain } of turns) {
          const attributes = { ...layout, tokens, T: type };
          const [y] = run("WeirRopeHeads", attributes, [x, NONE, cos, sin, offsets], 1);
          expectClose(y!, reference.ropeHeads(spread(x.values), null, plain, layout, dh), type);
          const [dx] = run("WeirRopeHeadsGrad", { ...attributes, S: type }, [dy, cos, sin, offsets], 1);
          expectClose(dx!, gathered(reference.ropeHeadsGrad(dy.values, plain, layout, dh)), type);
        }
        // The joined projection is three of them side by side.
        const { kv: own, heads_per_kv: each } = layout;
        const row = (heads + 2 * own) * dh;
        const joint = noise(8, [tokens, row], type);
        const columns = (from: number, count: number) =>
          Float32Array.from({ length: tokens * count }, (_, i) => {
            return joint.values[Math.floor(i / count) * row + from + (i % count)] as number;
          });
        const keys = { ...layout, heads_per_kv: 1 };
        const parts = [
          { values: columns(0, heads * dh), layout, from: 0 },
          { values: columns(heads * dh, own * dh), layout: keys, from: heads * dh },
          { values: columns((heads + own) * dh, own * dh), layout: keys, from: (heads + own) * dh },
        ];
        for (const { cos, sin, plain } of turns) {
          const attributes = { ...layout, tokens, T: type };
          const outputs = run("WeirQkvHeads", attributes, [joint, NONE, cos, sin, cos, sin, offsets], 3);
          parts.forEach((part, index) => {
            const per = own * part.layout.heads_per_kv * dh;
            const turned = index === 2 ? null : plain;
            const wanted = reference.ropeHeads(spread(part.values, per), null, turned, part.layout, dh);
            expectClose(outputs[index]!, wanted, type);
          });
          const dq = noise(11, [prompts * own * group * each, length, dh], type);
          const [dk, dv] = [12, 13].map((key) => noise(key, [prompts * own * group, length, dh])) as [Given, Given];
          const [dqkv] = run("WeirQkvHeadsGrad", attributes, [dq, dk, dv, cos, sin, cos, sin, offsets], 1);
          const wanted = new Array<number>(tokens * row).fill(0);
          [dq, dk, dv].forEach((given, index) => {
            const part = parts[index]!;
            const per = own * part.layout.heads_per_kv * dh;
            const back = reference.ropeHeadsGrad(given.values, index === 2 ? null : plain, part.layout, dh);
            rows.forEach((count, at) => {
              for (let t = 0; t < count; t += 1) {
                for (let i = 0; i < per; i += 1) {
                  wanted[(starts[at]! + t) * row + part.from + i] = back[(at * length + t) * per + i]!;
                }
              }
            });
          });
          expectClose(dqkv!, wanted, type);
        }
        // No bias where there is no token.
        const ones = { shape: [width], values: new Float32Array(width).fill(1) };
        const nothing = { ...x, values: new Float32Array(tokens * width) };
        const [y] = run("WeirRopeHeads", { ...layout, tokens, T: type }, [nothing, ones, NONE, NONE, offsets], 1);
        expect(y!.reduce((sum, value) => sum + value, 0)).toBe(end * width);
      });
    }
  }

  it("are refused where shapes do not fit", () => {
    const attributes = { prompts: 1, group: 1, kv: 2, heads_per_kv: 1, length: 3, tokens: 3, T: "float32" } as const;
    const x = noise(1, [3, 10]);
    expect(() => run("WeirRopeHeads", attributes, [x, NONE, noise(2, [15]), noise(2, [15]), NO_OFFSETS], 1)).toThrow(
      "heads of odd width cannot be rotated: 5",
    );
    expect(() => run("WeirRopeHeads", attributes, [noise(1, [4, 8]), NONE, NONE, NONE, NO_OFFSETS], 1)).toThrow(
      "x: expected [3, 2·dh], got [4, 8]",
    );
    expect(() =>
      run("WeirRopeHeads", attributes, [noise(1, [3, 8]), NONE, noise(2, [8]), noise(2, [8]), NO_OFFSETS], 1),
    ).toThrow("cos: expected 12 elements for each prompt or for all, got 8");
    const packed = (offsets: readonly number[]) =>
      run("WeirRopeHeads", attributes, [noise(1, [3, 8]), NONE, NONE, NONE, integers(offsets)], 1);
    expect(() => packed([0])).toThrow("offsets: expected 2 elements, got 1");
    expect(() => packed([0, 4])).toThrow("must begin at 0 and end within the tokens");
    expect(() => packed([1, 3])).toThrow("must begin at 0");
    expect(() =>
      run("WeirRopeHeads", { ...attributes, tokens: 9 }, [noise(1, [9, 8]), NONE, NONE, NONE, integers([0, 7])], 1),
    ).toThrow("a sequence has 7 tokens, at most 3 fit");
  });
});

describe.skipIf(opened === null)("logits", () => {
  const logitsOf = (rows: number, width: number, type: KernelType) => ({
    logits: noise(1, [rows, width], type, 5),
    targets: integers(Array.from({ length: rows }, (_, row) => (row * 31 + width - 1) % width)),
  });

  for (const type of TYPES) {
    for (const [rows, width] of [...SIZES, [2, 9001] as const]) {
      it(`${rows}×${width}, ${type}: log-probs, entropies, their gradients`, () => {
        const { logits, targets } = logitsOf(rows, width, type);
        const [logprob, entropy, logz] = run("WeirLogitStats", { T: type }, [logits, targets], 3);
        const wanted = reference.logitStats(logits.values, targets.values);
        expectClose(logprob!, wanted.logprob);
        expectClose(entropy!, wanted.entropy);
        expectClose(logz!, wanted.logz);

        const stats = [logz!, entropy!].map((values) => ({ shape: [rows], values }));
        const dLogprob = noise(2, [rows]);
        for (const dEntropy of [NONE, noise(3, [rows])]) {
          const inputs = [logits, targets, ...stats, dLogprob, dEntropy];
          const [dLogits] = run("WeirLogitGrad", { T: type }, inputs, 1);
          const values = dEntropy === NONE ? null : dEntropy.values;
          const gradient = reference.logitGrad(logits.values, targets.values, dLogprob.values, values);
          expectClose(dLogits!, gradient.dLogits, type, gradient.sizes);
        }
      });
    }
  }

  it("of any size keep their differences", () => {
    const logits = { shape: [2, 3], values: Float32Array.of(1e4, 1e4 - 1, -1e4, -3e38, -3e38, -3e38) };
    const [logprob, entropy] = run("WeirLogitStats", { T: "float32" }, [logits, integers([1, 2])], 3);
    // log(1 / (1 + e)) and log(1/3)
    expect(logprob![0]).toBeCloseTo(-1.313262, 5);
    expect(logprob![1]).toBeCloseTo(-1.098612, 5);
    expect(entropy![0]).toBeCloseTo(0.582203, 5);
  });

  it("refuse a target beyond the vocabulary", () => {
    expect(() => run("WeirLogitStats", { T: "float32" }, [noise(1, [1, 4]), integers([4])], 3)).toThrow(
      "targets: expected ids below 4, got 4",
    );
  });
});

describe.skipIf(opened === null)("the optimiser", () => {
  const SHAPES = [[1], [3, 577], [130, 512], [0, 4]];

  it("sums squares tensor by tensor", () => {
    const xs = SHAPES.map((shape, k) => noise(1 + k, shape));
    const [sums] = run("WeirSquaredSums", { K: xs.length }, xs, 1);
    expectClose(
      sums!,
      xs.map(({ values }) => (values as Float32Array).reduce((sum, value) => sum + value ** 2, 0)),
    );
  });

  it("steps bit by bit as TensorFlow's separate operations do", () => {
    const scalars = Float32Array.of(0.9, 0.03, 0.999, 0.0001, 3.7, 1e-8, 1e-3, 0.99999);
    const decays = [1, 0, 1, 0];
    const lists = [1, 11, 21, 31].map((key, list) =>
      SHAPES.map((shape, k) => {
        const each = noise(key + k, shape);
        // Second moments are never negative.
        return list === 2 ? { ...each, values: (each.values as Float32Array).map(Math.abs) } : each;
      }),
    );
    const inputs = [...lists.flat(), { shape: [8], values: scalars }, integers(decays)];
    const outputs = run("WeirAdamW", { K: SHAPES.length }, inputs, 3 * SHAPES.length);
    SHAPES.forEach((shape, k) => {
      const [w, m, v, g] = lists.map((list) => list[k]!.values) as [
        Float32Array,
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const wanted = Array.from({ length: count(shape) }, (_, i) =>
        reference.adamW(w[i]!, m[i]!, v[i]!, g[i]!, Array.from(scalars) as never, decays[k] === 1),
      );
      expect(Array.from(outputs[k]!)).toEqual(wanted.map(({ nw }) => nw));
      expect(Array.from(outputs[SHAPES.length + k]!)).toEqual(wanted.map(({ nm }) => nm));
      expect(Array.from(outputs[2 * SHAPES.length + k]!)).toEqual(wanted.map(({ nv }) => nv));
    });
  });
});

describe.skipIf(opened === null)("in a graph, where an output may take the place of an input,", () => {
  const [rows, d] = [9, 130];
  const ones = { shape: [rows], values: new Float32Array(rows).fill(1) };
  const targets = integers(Array.from({ length: rows }, (_, i) => (i * 17) % d));
  const x = (type: KernelType) => noise(1, [rows, d], type);
  const y = (type: KernelType) => noise(2, [rows, d], type);
  const w = noise(3, [d]);
  const narrow = "bfloat16";
  const wide = "float32";
  const CALLS: readonly (readonly [string, KernelAttributes, readonly Given[], number])[] = [
    ["WeirAddRmsNorm", { epsilon: EPSILON, T: wide }, [x(wide), y(wide), NONE, w], 3],
    ["WeirRmsNormGrad", { K: 1, T: wide }, [y(wide), { ...ones, shape: [rows, 1] }, w, x(wide), y(wide)], 2],
    ["WeirSwiGlu", { T: wide }, [x(wide), y(wide)], 1],
    ["WeirSwiGluGrad", { T: narrow }, [y(narrow), x(narrow), y(narrow)], 3],
    ["WeirLogitGrad", { T: wide }, [x(wide), targets, ones, ones, ones, ones], 1],
    ["WeirLogitGrad", { T: narrow }, [x(narrow), targets, ones, ones, ones, NONE], 1],
  ];
  for (const [operation, attributes, inputs, outputs] of CALLS) {
    it(`${operation} of ${attributes.T} gives what it gives alone`, () => {
      const fed: Record<string, Given> = {};
      // Behind an operation of its own, a value is held by the kernel alone.
      const nodes: GraphNode[] = inputs.map((input, k) => {
        const floats = input.values instanceof Float32Array;
        fed[`fed${k}`] = floats ? { shape: input.shape, values: input.values.map((value) => -value) } : input;
        if (!floats) return { name: `own${k}`, op: "Identity", inputs: [`fed${k}`], attributes: { T: "int32" } };
        return { name: `own${k}`, op: "Neg", inputs: [`fed${k}`], attributes: { T: wide } };
      });
      const names = inputs.map((input, k) => {
        if (input.type !== narrow) return `own${k}`;
        nodes.push({ name: `cast${k}`, op: "Cast", inputs: [`own${k}`], attributes: { SrcT: wide, DstT: narrow } });
        return `cast${k}`;
      });
      nodes.push({ name: "kernel", op: operation, inputs: names, attributes });
      const fetches = Array.from({ length: outputs }, (_, k) => `kernel:${k}`);
      expect(runGraph(fed, nodes, fetches)).toEqual(run(operation, attributes, inputs, outputs));
    });
  }
});

describe.skipIf(opened === null)("what is not finite", () => {
  const [rows, d] = [3, 40];
  /** Row 1 of three is spoilt at `place`. */
  const spoilt = (key: number, value: number, type: KernelType, place = 17): Given => {
    const x = noise(key, [rows, d], type);
    x.values[d + place] = value;
    return x;
  };
  const finite = (values: ArrayLike<number>) => Array.from(values, Number.isFinite);
  const onlyRow1 = [true, false, true];
  const perRow = (values: Float32Array) =>
    [0, 1, 2].map((row) => finite(values.slice(row * d, row * d + d)).every(Boolean));

  for (const type of TYPES) {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      it(`stays so: ${value} in ${type}`, () => {
        const w = noise(2, [d]);
        const fine = noise(3, [rows, d], type);
        const r = { shape: [rows, 1], values: new Float32Array(rows).fill(1) };
        const norm = { epsilon: EPSILON, T: type };
        expect(perRow(run("WeirRmsNorm", norm, [spoilt(1, value, "float32"), w], 2)[0]!)).toEqual(onlyRow1);
        const summed = run("WeirAddRmsNorm", norm, [noise(1, [rows, d]), spoilt(3, value, type), NONE, w], 3);
        expect(perRow(summed[0]!)).toEqual(onlyRow1);
        expect(perRow(summed[1]!)).toEqual(onlyRow1);
        const gradients = run(
          "WeirRmsNormGrad",
          { K: 1, T: type },
          [noise(1, [rows, d]), r, w, NONE, spoilt(3, value, type)],
          2,
        );
        expect(perRow(gradients[0]!)).toEqual(onlyRow1);
        expect(finite(gradients[1]!)[17]).toBe(false);

        const up = spoilt(4, value, type);
        expect(perRow(run("WeirSwiGlu", { T: type }, [fine, up], 1)[0]!)).toEqual(onlyRow1);
        for (const output of run("WeirSwiGluGrad", { T: type }, [fine, spoilt(3, value, type), fine], 3))
          expect(perRow(output)).toEqual(onlyRow1);

        const layout = { prompts: 1, group: 1, kv: 1, heads_per_kv: 1, length: rows, tokens: rows };
        const ones = { shape: [rows * d], values: new Float32Array(rows * d).fill(1) };
        expect(perRow(run("WeirRopeHeads", { ...layout, T: type }, [up, NONE, ones, ones, NO_OFFSETS], 1)[0]!)).toEqual(
          onlyRow1,
        );

        const targets = integers([0, 0, 0]);
        const [logprob, entropy, logz] = run("WeirLogitStats", { T: type }, [up, targets], 3) as [
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        expect(finite(logprob)).toEqual(onlyRow1);
        expect(finite(entropy)).toEqual(onlyRow1);
        const stats = [logz, entropy].map((values) => ({ shape: [rows], values }));
        const one = { shape: [rows], values: new Float32Array(rows).fill(1) };
        expect(perRow(run("WeirLogitGrad", { T: type }, [up, targets, ...stats, one, NONE], 1)[0]!)).toEqual(onlyRow1);
        expect(finite(run("WeirSquaredSums", { K: 2 }, [spoilt(1, value, "float32"), w], 1)[0]!)).toEqual([
          false,
          true,
        ]);
      });
    }
  }

  it("rounds every NaN to a NaN", () => {
    const x = { shape: [1, 2], values: new Float32Array(new Uint32Array([0x7fffffff, 0xffffffff]).buffer) };
    const ones = { shape: [2], values: Float32Array.of(1, 1) };
    const [n] = run("WeirRmsNorm", { epsilon: EPSILON, T: "bfloat16" }, [x, ones], 2);
    expect([...n!]).toEqual([Number.NaN, Number.NaN]);
  });
});

describe.skipIf(opened === null)("the same inputs", () => {
  const CHILD = new URL("./children/kernel-bits.ts", import.meta.url).pathname;
  const digest = (threads: number): string => {
    const env = { ...process.env, TF_NUM_INTRAOP_THREADS: String(threads) };
    const child = spawnSync(process.execPath, ["--import", "tsx", CHILD], { env, encoding: "utf8" });
    return child.stdout.trim();
  };

  it("give the same bits every time, with any number of threads", () => {
    const [one, three] = [digest(1), digest(3)];
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect(three).toBe(one);
  });
});
