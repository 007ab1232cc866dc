/** Walks the stored models and optimiser steps of the reference and compares one backend with them. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { klEstimate } from "../../src/algorithms/kl.js";
import type { BackendName, ExecutorName } from "../../src/contracts/engine.js";
import type { TrainCompletion } from "../../src/contracts/trainer.js";
import { lossSettings } from "../../src/losses/settings.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { RotaryDtype } from "../../src/model/transformer/rope.js";
import { FIXTURES, OWN_FIXTURES } from "../helpers/fixtures.js";
import { aggregateLoss, type LossMode } from "../oracle/loss-aggregation.js";

/** Largest |Δ| of log-probs, entropies and logits. */
const TOLERANCE = 2e-4;

/** Reference models (WEIR_FIXTURES may replace them), and this repository's own, of every architecture and rotary kind. */
const FOLDERS = [join(FIXTURES, "models"), join(OWN_FIXTURES, "architectures")];
const { signal } = new AbortController();

interface Case {
  readonly input_ids: readonly number[];
  readonly last_logits_first16: readonly number[];
  readonly logits_sum: number;
  readonly logits_abs_sum: number;
  readonly token_logprobs: readonly number[];
  readonly entropy: readonly number[];
  readonly greedy_ids: readonly number[];
}

interface Step {
  readonly model: string;
  readonly settings: {
    readonly clip_low: number;
    readonly clip_high: number;
    readonly dual_clip?: number | null;
    readonly loss_agg: LossMode;
    readonly temperature: number;
    readonly kl_coef: number;
    readonly kl_type?: "k1" | "k2" | "k3";
    readonly entropy_coef: number;
    readonly lr: number;
    readonly weight_decay: number;
    readonly max_grad_norm: number;
    readonly betas: [number, number];
    readonly eps: number;
  };
  readonly group: readonly number[];
  readonly prompts: readonly (readonly number[])[];
  readonly completions: readonly (readonly number[])[];
  readonly advantages: readonly number[];
  readonly old_logprobs: readonly (readonly number[])[];
  readonly ref_logprobs: readonly (readonly number[])[];
  readonly steps: readonly {
    readonly loss: number;
    readonly pg_loss: number;
    readonly kl_k3: number;
    readonly entropy: number;
    readonly clip_fraction: number;
    readonly grad_norm_before_clip: number;
    readonly grad_norm_by_tensor_after_clip: Readonly<Record<string, number>>;
  }[];
  readonly logprobs_after: readonly (readonly number[])[];
}

/** Folders of stored models; `smallest` keeps the smallest of the reference. */
export function storedModels(smallest = false): string[] {
  const found = FOLDERS.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name))).filter((path) =>
    existsSync(join(path, "expected.json")),
  );
  const size = (path: string) => statSync(join(path, "model.safetensors")).size;
  return smallest
    ? found
        .filter((path) => path.startsWith(FOLDERS[0]!) && existsSync(join(path, "model.safetensors")))
        .sort((a, b) => size(a) - size(b))
        .slice(0, 1)
    : found;
}

function worst(actual: readonly number[], expected: readonly number[]): number {
  return actual.reduce((most, value, index) => Math.max(most, Math.abs(value - expected[index]!)), 0);
}

async function readExpected(path: string): Promise<readonly Case[]> {
  return JSON.parse(await readFile(join(path, "expected.json"), "utf8")).cases;
}

async function storesBfloat16(path: string): Promise<boolean> {
  const config = JSON.parse(await readFile(join(path, "config.json"), "utf8"));
  return (config.dtype ?? config.torch_dtype) === "bfloat16";
}

/** Largest deviation of log-probs and entropies over the cases. */
async function deviation(core: EngineCore, cases: readonly Case[]): Promise<number> {
  const scored = await core.scoreSequences(
    cases.map((c) => c.input_ids),
    signal,
  );
  return cases.reduce(
    (most, c, index) =>
      Math.max(most, worst(scored.logprobs[index]!, c.token_logprobs), worst(scored.entropy[index]!, c.entropy)),
    0,
  );
}

/** Models of one backend against transformers. */
export function describeModels(
  backend: BackendName,
  models: readonly string[],
  executor: ExecutorName = "eager",
): void {
  describe.each(models.map((path) => [basename(path), path] as const))(`%s on ${backend}, ${executor}`, (_, path) => {
    let core: EngineCore;
    let cases: readonly Case[];
    let rotary: RotaryDtype = "float32";

    beforeAll(async () => {
      cases = await readExpected(path);
      core = await EngineCore.open(path, { backend, threads: 0, executor });
      // References of bfloat16 folders may come from a model that was cast as a whole: its rotary buffer was rounded too.
      if ((await storesBfloat16(path)) && (await deviation(core, cases)) > TOLERANCE) {
        core.dispose();
        rotary = "bfloat16";
        core = await EngineCore.open(path, { backend, threads: 0, executor }, rotary);
      }
    });
    afterAll(() => core.dispose());

    it("has the reference's log-probs and entropies", async ({ annotate }) => {
      await annotate(`rotary frequencies: ${rotary}`);
      expect(cases.length).toBeGreaterThan(0);
      expect(await deviation(core, cases)).toBeLessThanOrEqual(TOLERANCE);
    });

    it("has the reference's logits at the last position", () => {
      for (const c of cases) {
        const logits = core.lastLogits(c.input_ids);
        expect(worst([...logits.subarray(0, 16)], c.last_logits_first16)).toBeLessThanOrEqual(TOLERANCE);
      }
    });

    it("continues greedily as the reference does", async () => {
      for (const c of cases) {
        const reply = await core.sample(
          {
            prompts: [{ promptIds: c.input_ids, seeds: [1] }],
            params: { temperature: 0, topP: 1, topK: 0, maxTokens: c.greedy_ids.length, stopIds: [] },
            policy: null,
            forTraining: false,
          },
          signal,
        );
        const { tokenIds } = reply.sequences[0]![0]!;
        expect(tokenIds.slice(0, c.greedy_ids.length)).toEqual(c.greedy_ids);
      }
    });
  });
}

/** Within 1e-4 relative or 1e-5 absolute. */
function expectClose(actual: number, expected: number, what: string): void {
  const limit = Math.max(1e-4 * Math.abs(expected), 1e-5);
  expect(Math.abs(actual - expected), `${what}: ${actual} against ${expected}`).toBeLessThanOrEqual(limit);
}

/** Optimiser steps of one backend against PyTorch. */
export function describeSteps(backend: BackendName, executor: ExecutorName = "eager"): void {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith("-step.json"))
      .map((name) => [name, join(folder, name)] as const),
  );
  it("finds stored steps", () => expect(files.length).toBeGreaterThanOrEqual(2));

  it.each(files)(`%s on ${backend}, ${executor}`, async (_, file) => {
    const step: Step = JSON.parse(await readFile(file, "utf8"));
    const core = await EngineCore.open(join(dirname(file), step.model), { backend, threads: 0, executor });
    const groups: { promptIds: readonly number[]; completions: TrainCompletion[] }[] = [];
    const place: [number, number][] = [];
    step.completions.forEach((tokenIds, index) => {
      const group = step.group[index]!;
      groups[group] ??= { promptIds: step.prompts[index]!, completions: [] };
      place.push([group, groups[group].completions.length]);
      groups[group].completions.push({
        tokenIds,
        advantages: tokenIds.map(() => step.advantages[index]!),
        oldLogprobs: step.old_logprobs[index]!,
        refLogprobs: step.ref_logprobs[index]!,
      });
    });
    const { settings } = step;
    const tokens = step.completions.reduce((sum, ids) => sum + ids.length, 0);
    const mask = step.completions.map((ids) => ids.map(() => 1));
    const width = Math.max(...step.completions.map((ids) => ids.length));
    const pad = (rows: readonly (readonly number[])[]) =>
      rows.map((row) => [...row, ...Array(width - row.length).fill(0)]);
    for (const expected of step.steps) {
      const metrics = await core.forwardBackward(
        {
          groups,
          loss: {
            name: "dapo",
            settings: lossSettings("dapo", {
              clipLow: settings.clip_low,
              clipHigh: settings.clip_high,
              dualClip: settings.dual_clip,
            }),
            aggregation: settings.loss_agg,
            lossScale: width,
            klCoefficient: settings.kl_coef,
            klEstimator: settings.kl_type ?? "k3",
            entropyCoefficient: settings.entropy_coef,
            temperature: settings.temperature,
          },
          denominators: { tokens, sequences: step.completions.length },
          microBatchTokens: 64,
          oldPolicy: null,
        },
        signal,
      );
      expect(metrics.microBatches).toBeGreaterThan(1);
      expectClose(metrics.loss, expected.loss, "loss");
      expectClose(metrics.pgLoss, expected.pg_loss, "policy loss");
      // The reference aggregates its KL as its loss.
      const kl = place.map(([g, c], index) =>
        metrics.logprobs[g]![c]!.map((value, t) => klEstimate(value, step.ref_logprobs[index]![t]!, "k3", false)),
      );
      expectClose(aggregateLoss(pad(kl), pad(mask), settings.loss_agg, { scale: width }), expected.kl_k3, "KL");
      expect(metrics.clipFraction).toBeCloseTo(expected.clip_fraction, 12);
      const reply = core.optimStep(
        {
          learningRate: settings.lr,
          betas: settings.betas,
          epsilon: settings.eps,
          weightDecay: settings.weight_decay,
          decayScope: "all",
          maxGradNorm: settings.max_grad_norm,
        },
        true,
      );
      expect(reply.applied).toBe(true);
      const norms = { ...expected.grad_norm_by_tensor_after_clip, total: expected.grad_norm_before_clip };
      const found: Record<string, number> = { ...reply.gradNormByTensor, total: reply.gradNorm };
      expect(Object.keys(found).sort()).toEqual(Object.keys(norms).sort());
      for (const [name, norm] of Object.entries(norms)) {
        expect(Math.abs(found[name]! - norm) / norm, `gradient norm of ${name}`).toBeLessThanOrEqual(1e-3);
      }
    }
    const after = await core.logprobs(
      {
        groups: groups.map(({ promptIds, completions }) => ({
          promptIds,
          completions: completions.map(({ tokenIds }) => tokenIds),
        })),
        temperature: settings.temperature,
        which: "policy",
        microBatchTokens: 4096,
      },
      signal,
    );
    place.forEach(([g, c], index) => {
      expect(worst(after.logprobs[g]![c]!, step.logprobs_after[index]!)).toBeLessThanOrEqual(1e-3);
    });
    core.dispose();
  });
}
