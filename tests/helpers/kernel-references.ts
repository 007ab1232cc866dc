/** What weir's kernels compute, in plain float64: rows are arrays of one after the other. */

type Numbers = ArrayLike<number>;

const array = <T>(count: number, at: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => at(i));

/** y = x·r·w, r = (mean(x²) + ε)^(−½). */
export function rmsNorm(x: Numbers, w: Numbers, epsilon: number) {
  const d = w.length;
  const r = array(x.length / d, (row) => {
    const squares = array(d, (i) => x[row * d + i]! ** 2);
    return 1 / Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / d + epsilon);
  });
  return { n: array(x.length, (i) => x[i]! * r[Math.floor(i / d)]! * w[i % d]!), r };
}

export function rmsNormGrad(x: Numbers, r: Numbers, w: Numbers, residual: Numbers | null, dns: readonly Numbers[]) {
  const d = w.length;
  const dy = array(x.length, (i) => dns.reduce((sum, dn) => sum + dn[i]!, 0));
  const unit = array(x.length, (i) => x[i]! * r[Math.floor(i / d)]!);
  const dot = array(r.length, (row) =>
    array(d, (i) => row * d + i).reduce((sum, i) => sum + dy[i]! * w[i % d]! * unit[i]!, 0),
  );
  const dx = array(x.length, (i) => {
    const row = Math.floor(i / d);
    return (residual?.[i] ?? 0) + r[row]! * (dy[i]! * w[i % d]! - (unit[i]! * dot[row]!) / d);
  });
  const dw = array(d, (i) => array(r.length, (row) => row * d + i).reduce((sum, at) => sum + dy[at]! * unit[at]!, 0));
  return { dx, dw };
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

export function swiGlu(gate: Numbers, up: Numbers) {
  return array(gate.length, (i) => gate[i]! * sigmoid(gate[i]!) * up[i]!);
}

export function swiGluGrad(dAct: Numbers, gate: Numbers, up: Numbers) {
  const slope = (g: number) => sigmoid(g) * (1 + g * (1 - sigmoid(g)));
  return {
    dGate: array(gate.length, (i) => dAct[i]! * up[i]! * slope(gate[i]!)),
    dUp: array(gate.length, (i) => dAct[i]! * gate[i]! * sigmoid(gate[i]!)),
    act: swiGlu(gate, up),
  };
}

export interface HeadLayout {
  readonly prompts: number;
  readonly group: number;
  readonly kv: number;
  readonly heads_per_kv: number;
  readonly length: number;
}

/** Calls `visit` with the first place of every head in token order and in head order, and in the rotary tables. */
function eachHead(
  { prompts, group, kv, heads_per_kv, length }: HeadLayout,
  dh: number,
  visit: (token: number, head: number, table: number, first: number) => void,
) {
  for (let p = 0; p < prompts; p += 1)
    for (let g = 0; g < group; g += 1)
      for (let t = 0; t < length; t += 1)
        for (let k = 0; k < kv; k += 1)
          for (let s = 0; s < heads_per_kv; s += 1) {
            const head = k * heads_per_kv + s;
            const token = ((p * group + g) * length + t) * kv * heads_per_kv + head;
            const row = (((p * kv + k) * group + g) * heads_per_kv + s) * length + t;
            visit(token * dh, row * dh, (p * length + t) * dh, head * dh);
          }
}

/** cos and sin of P blocks, of one block for all prompts, or null for no rotation. */
export interface Turn {
  readonly cos: Numbers;
  readonly sin: Numbers;
}

export function ropeHeads(x: Numbers, bias: Numbers | null, turn: Turn | null, layout: HeadLayout, dh: number) {
  const y = new Array<number>(x.length);
  eachHead(layout, dh, (token, head, table, first) => {
    const biased = array(dh, (i) => x[token + i]! + (bias?.[first + i] ?? 0));
    for (let i = 0; i < dh; i += 1) {
      const at = turn === null ? 0 : (table + i) % turn.cos.length;
      const other = i < dh / 2 ? -biased[i + dh / 2]! : biased[i - dh / 2]!;
      y[head + i] = turn === null ? biased[i]! : biased[i]! * turn.cos[at]! + other * turn.sin[at]!;
    }
  });
  return y;
}

/** dx = dy·cos + rotᵀ(dy·sin), by token. */
export function ropeHeadsGrad(dy: Numbers, turn: Turn | null, layout: HeadLayout, dh: number) {
  const dx = new Array<number>(dy.length);
  eachHead(layout, dh, (token, head, table) => {
    for (let i = 0; i < dh; i += 1) {
      if (turn === null) {
        dx[token + i] = dy[head + i]!;
        continue;
      }
      const j = i < dh / 2 ? i + dh / 2 : i - dh / 2;
      const sign = i < dh / 2 ? 1 : -1;
      const [here, there] = [(table + i) % turn.cos.length, (table + j) % turn.cos.length];
      dx[token + i] = dy[head + i]! * turn.cos[here]! + sign * dy[head + j]! * turn.sin[there]!;
    }
  });
  return dx;
}

export function logitStats(logits: Numbers, targets: Numbers) {
  const width = logits.length / targets.length;
  const rows = array(targets.length, (row) => row).map((row) => array(width, (i) => logits[row * width + i]!));
  const logz = rows.map((row) => {
    const largest = Math.max(...row);
    return largest + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  });
  return {
    logprob: rows.map((row, i) => row[targets[i]!]! - logz[i]!),
    entropy: rows.map((row, i) => row.reduce((sum, x) => sum - Math.exp(x - logz[i]!) * (x - logz[i]!), 0)),
    logz,
  };
}

/** dlogits = p·(−dℓ − dH·(log p + H)) + dℓ·onehot(target), and the size of the terms that may cancel in it. */
export function logitGrad(logits: Numbers, targets: Numbers, dLogprob: Numbers, dEntropy: Numbers | null) {
  const width = logits.length / targets.length;
  const { logz, entropy } = logitStats(logits, targets);
  const each = array(logits.length, (i) => {
    const row = Math.floor(i / width);
    const logp = logits[i]! - logz[row]!;
    const [dl, dh] = [dLogprob[row]!, dEntropy?.[row] ?? 0];
    const hit = i % width === targets[row] ? dl : 0;
    const value = Math.exp(logp) * (-dl - dh * (logp + entropy[row]!)) + hit;
    const size = Math.exp(logp) * (Math.abs(dl) + Math.abs(dh) * (Math.abs(logp) + entropy[row]!)) + Math.abs(hit);
    return { value, size };
  });
  return { dLogits: each.map(({ value }) => value), sizes: each.map(({ size }) => size) };
}

/** The scalars of an AdamW step, as the kernel takes them. */
export type AdamScalars = readonly [number, number, number, number, number, number, number, number];

/** One element, every operation rounded to float32. */
export function adamW(w: number, m: number, v: number, g: number, scalars: AdamScalars, decays: boolean) {
  const f = Math.fround;
  const [keep1, take1, keep2, take2, root, epsilon, rate, shrink] = scalars;
  const nm = f(f(m * keep1) + f(g * take1));
  const nv = f(f(v * keep2) + f(f(g * g) * take2));
  const denominator = f(f(f(Math.sqrt(nv)) * root) + epsilon);
  const kept = decays ? f(w * shrink) : w;
  return { nw: f(kept - f(f(nm / denominator) * rate)), nm, nv };
}
