/** Adapters: their gradients are those of W = W₀ + (α/r)·B·A, the rest stays frozen, and folders carry them. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportCommand } from "../../src/cli/commands/export.js";
import type { LoraOptions } from "../../src/contracts/engine.js";
import type { PolicyBatch } from "../../src/contracts/trainer.js";
import { EngineCore } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { readSafetensors } from "../../src/model/io/safetensors.js";
import type { GradientStore } from "../../src/model/transformer/gradients.js";
import { planMemory } from "../../src/model/transformer/memory-plan.js";
import {
  ENGINE_OPTIONS,
  FAST_BACKEND,
  MODEL_KINDS,
  TEST_LOSS,
  TEST_OPTIMISER,
  TINY_CONFIG,
  writeRandomModel,
} from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();
const LORA: LoraOptions = {
  rank: 3,
  alpha: 6,
  targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
  seed: 5,
};
const EXECUTORS: readonly CoreOptions[] = [
  { backend: FAST_BACKEND, threads: 0, executor: "eager" },
  ...(FAST_BACKEND === "tensorflow"
    ? [{ backend: FAST_BACKEND, threads: 0, executor: "compiled" as const, memoryGiB: 64 }]
    : []),
];

function batch(): PolicyBatch {
  const groups = randomGroups(11, [
    [20, [7, 3]],
    [1, [4]],
  ]);
  return {
    groups,
    loss: TEST_LOSS,
    denominators: { tokens: 14, sequences: 3 },
    microBatchTokens: 4096,
    oldPolicy: null,
  };
}

/** Gradients by name after one pass. */
async function gradients(core: EngineCore): Promise<Map<string, { values: Float32Array; shape: readonly number[] }>> {
  await core.forwardBackward(batch(), signal);
  const store = (core as unknown as { learner: { gradients: GradientStore } }).learner.gradients;
  return new Map(
    store.names().map((name) => {
      const tensor = store.get(name);
      return [
        name,
        { values: tensor?.dataSync<"float32">().slice() ?? new Float32Array(), shape: tensor?.shape ?? [] },
      ];
    }),
  );
}

/** a [m, k] · b [k, n], with either read as its transpose. */
function product(
  a: { values: Float32Array; shape: readonly number[] },
  b: { values: Float32Array; shape: readonly number[] },
  transposeA: boolean,
  transposeB: boolean,
): number[] {
  const [a0, a1] = a.shape as [number, number];
  const [b0, b1] = b.shape as [number, number];
  const [m, k, n] = [transposeA ? a1 : a0, transposeA ? a0 : a1, transposeB ? b0 : b1];
  const atA = (i: number, j: number) => a.values[transposeA ? j * a1 + i : i * a1 + j] as number;
  const atB = (i: number, j: number) => b.values[transposeB ? j * b1 + i : i * b1 + j] as number;
  const result: number[] = [];
  for (let i = 0; i < m; i += 1) {
    for (let j = 0; j < n; j += 1) {
      let sum = 0;
      for (let at = 0; at < k; at += 1) sum += atA(i, at) * atB(at, j);
      result.push(sum);
    }
  }
  return result;
}

describe("adapters", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-lora-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  for (const options of EXECUTORS) {
    describe(`on the ${options.executor} executor`, () => {
      it.each(MODEL_KINDS)("gets the gradients that follow from dW in %s", async (kind, changes) => {
        const model = await writeRandomModel(join(folder, `${options.executor}-${kind.replaceAll(" ", "-")}`), changes);
        const saved = `${model}-after`;
        const core = await EngineCore.open(model, { ...options, lora: LORA });
        await gradients(core);
        // The first step moves B only, A having no gradient yet; the second moves both.
        for (let step = 0; step < 2; step += 1) {
          if (step > 0) await gradients(core);
          expect(core.optimStep(TEST_OPTIMISER, false).applied).toBe(true);
        }
        const { version } = await core.publish("checkpoint", saved);
        const found = await gradients(core);
        core.dispose();

        const full = await EngineCore.open(saved, options);
        expect(full.version().sha256).toBe(version.sha256);
        const whole = await gradients(full);
        full.dispose();

        const adapter = await readSafetensors(join(saved, "adapter", "adapter_model.safetensors"));
        const read = (name: string) => {
          const key = `base_model.model.${name}`;
          return { values: adapter.read(key), shape: adapter.shape(key) };
        };
        const modules = [...whole.keys()].filter((name) => /_proj\.weight$/.test(name));
        expect(modules).toHaveLength(7 * TINY_CONFIG.num_hidden_layers);
        expect([...found.keys()]).toHaveLength(2 * modules.length);
        for (const module of modules) {
          const dW = whole.get(module) as NonNullable<ReturnType<typeof whole.get>>;
          const name = module.replace(/\.weight$/, "");
          const expected = {
            [`${name}.lora_A.weight`]: product(read(`${name}.lora_B.weight`), dW, true, false),
            [`${name}.lora_B.weight`]: product(dW, read(`${name}.lora_A.weight`), false, true),
          };
          for (const [tensor, values] of Object.entries(expected)) {
            const got = found.get(tensor)?.values ?? new Float32Array();
            expect(got).toHaveLength(values.length);
            const largest = Math.max(...values.map(Math.abs)) * 2;
            const worst = Math.max(...values.map((value, i) => Math.abs(2 * value - (got[i] as number))));
            expect(largest, tensor).toBeGreaterThan(0);
            expect(worst / largest, tensor).toBeLessThan(2e-4);
          }
        }
      });

      it("moves the adapted matrices only, by (α/r)·B·A", async () => {
        const lora = { ...LORA, targets: ["q_proj", "down_proj"] as const };
        const model = await writeRandomModel(join(folder, `${options.executor}-frozen`));
        const core = await EngineCore.open(model, { ...options, lora });
        expect(core.modelInfo.trainedParameters).toBeLessThan(core.modelInfo.parameters / 4);
        await gradients(core);
        core.optimStep(TEST_OPTIMISER, false);
        await core.publish("checkpoint", `${model}-after`);
        core.dispose();
        const before = await readSafetensors(join(model, "model.safetensors"));
        const after = await readSafetensors(join(`${model}-after`, "model.safetensors"));
        const adapter = await readSafetensors(join(`${model}-after`, "adapter", "adapter_model.safetensors"));
        for (const name of after.names()) {
          const [old, now] = [before.read(name), after.read(name)];
          if (!/\.(q_proj|down_proj)\.weight$/.test(name)) {
            expect(now, name).toEqual(old);
            continue;
          }
          const read = (part: string) => {
            const key = `base_model.model.${name.replace(/weight$/, part)}`;
            return { values: adapter.read(key), shape: adapter.shape(key) };
          };
          const delta = product(read("lora_B.weight"), read("lora_A.weight"), false, false);
          expect(Math.max(...delta.map(Math.abs)), name).toBeGreaterThan(1e-5);
          delta.forEach((value, i) => {
            expect(Math.abs((old[i] as number) + 2 * value - (now[i] as number))).toBeLessThan(1e-5);
          });
        }
      });
    });
  }

  describe("in folders", () => {
    const options: CoreOptions = { ...ENGINE_OPTIONS, lora: LORA };

    async function stepped(core: EngineCore, steps: number): Promise<string> {
      for (let step = 0; step < steps; step += 1) {
        await core.forwardBackward(batch(), signal);
        core.optimStep(TEST_OPTIMISER, false);
      }
      return (await core.publish("handle", null)).version.sha256;
    }

    it("go on from a checkpoint as if nothing had happened", async () => {
      const model = await writeRandomModel(join(folder, "resumed"));
      const whole = await EngineCore.open(model, options);
      const expected = await stepped(whole, 4);
      whole.dispose();
      const first = await EngineCore.open(model, options);
      await stepped(first, 2);
      await first.saveState(`${model}-2`);
      await stepped(first, 1);
      // Back in the same process, and on in another.
      await first.loadState(`${model}-2`);
      expect(await stepped(first, 2)).toBe(expected);
      first.dispose();
      const second = await EngineCore.open(model, options);
      await second.loadState(`${model}-2`);
      expect(second.version().n).toBe(1);
      expect(await stepped(second, 2)).toBe(expected);
      second.dispose();
    });

    it("are refused beside other frozen weights, with everything as before", async () => {
      const model = await writeRandomModel(join(folder, "one"));
      const other = await writeRandomModel(join(folder, "two"), {}, 0.2);
      const core = await EngineCore.open(model, options);
      await stepped(core, 1);
      await core.saveState(`${model}-saved`);
      core.dispose();
      const wrong = await EngineCore.open(other, options);
      const before = await stepped(wrong, 1);
      await expect(wrong.loadState(`${model}-saved`)).rejects.toMatchObject({ code: "WEIR_E_CHECKPOINT_DAMAGED" });
      expect(wrong.version().sha256).toBe(before);
      wrong.dispose();
    });

    it.each([
      ["rank", { rank: 2 }],
      ["scale", { alpha: 12 }],
      ["choice of matrices", { targets: ["q_proj"] as const }],
    ])("are refused under another %s", async (what, changes) => {
      const model = await writeRandomModel(join(folder, `other-${what.replaceAll(" ", "-")}`));
      const core = await EngineCore.open(model, options);
      await stepped(core, 1);
      await core.saveState(`${model}-saved`);
      core.dispose();
      const other = await EngineCore.open(model, { ...options, lora: { ...LORA, ...changes } });
      const before = other.version().sha256;
      await expect(other.loadState(`${model}-saved`)).rejects.toMatchObject({
        code: "WEIR_E_CHECKPOINT_DAMAGED",
        message: expect.stringContaining("give the model.lora it was trained with"),
      });
      expect(other.version().sha256).toBe(before);
      expect(await stepped(other, 1)).not.toBe(before);
      other.dispose();
    });

    it("are not put on a checkpoint that was trained without them", async () => {
      const model = await writeRandomModel(join(folder, "without"));
      const full = await EngineCore.open(model, ENGINE_OPTIONS);
      await stepped(full, 1);
      full.resetOptimiser();
      await full.saveState(`${model}-saved`);
      full.dispose();
      const core = await EngineCore.open(model, options);
      await expect(core.loadState(`${model}-saved`)).rejects.toMatchObject({
        code: "WEIR_E_CHECKPOINT_DAMAGED",
        message: expect.stringContaining("was trained without adapters"),
      });
      core.dispose();
    });

    it("start anew on weights that carry none", async () => {
      const model = await writeRandomModel(join(folder, "plain"));
      const other = await writeRandomModel(join(folder, "plain-other"), {}, 0.2);
      const core = await EngineCore.open(model, options);
      await stepped(core, 2);
      const { sha256 } = await core.loadState(other);
      const bare = await EngineCore.open(other, options);
      expect(sha256).toBe(bare.version().sha256);
      expect(await stepped(core, 2)).toBe(await stepped(bare, 2));
      await core.publish("checkpoint", `${other}-saved`);
      const config = JSON.parse(await readFile(join(`${other}-saved`, "adapter", "adapter_config.json"), "utf8"));
      expect(config.base_model_name_or_path).toBe(other);
      core.dispose();
      bare.dispose();
    });

    it("say in the PEFT format what they are", async () => {
      const model = await writeRandomModel(join(folder, "peft"));
      const core = await EngineCore.open(model, options);
      await core.publish("checkpoint", `${model}-saved`);
      core.dispose();
      const config = JSON.parse(await readFile(join(`${model}-saved`, "adapter", "adapter_config.json"), "utf8"));
      expect(config).toMatchObject({ peft_type: "LORA", r: 3, lora_alpha: 6, base_model_name_or_path: model });
      const adapter = await readSafetensors(join(`${model}-saved`, "adapter", "adapter_model.safetensors"));
      expect(adapter.names()).toContain("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
      expect(adapter.shape("base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight")).toEqual([3, 24]);
      expect(await exportCommand(`${model}-saved`, `${model}-exported`, { dtype: "bf16", json: true })).toBe(0);
      const exported = await readSafetensors(join(`${model}-exported`, "adapter", "adapter_model.safetensors"));
      expect(exported.names()).toEqual(adapter.names());
    });

    it("keep no gradient sums and moments of the frozen weights in the plan", async () => {
      const form = { precision: "float32", fused: true, copies: true } as const;
      const model = await writeRandomModel(join(folder, "planned"));
      const core = await EngineCore.open(model, options);
      const { config } = core as unknown as { config: Parameters<typeof planMemory>[0] };
      core.dispose();
      const pass = { prefixTokens: 64, rowTokens: 64, targets: 64 };
      const plan = (lora: LoraOptions | null) => planMemory(config, { ...form, lora }, pass, Number.POSITIVE_INFINITY);
      expect(plan(LORA).stateBytes).toBeLessThan(plan(null).stateBytes);
      expect(plan({ ...LORA, rank: 64 }).stateBytes).toBeGreaterThan(plan(LORA).stateBytes);
    });
  });
});
