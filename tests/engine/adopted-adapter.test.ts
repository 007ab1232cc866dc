/** An engine that only samples takes policies that were published as adapters. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LoraOptions } from "../../src/contracts/engine.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { EngineCore } from "../../src/model/engine/core.js";
import { ENGINE_OPTIONS, TEST_LOSS, TEST_OPTIMISER, writeRandomModel } from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();
const LORA: LoraOptions = { rank: 3, alpha: 6, targets: ["q_proj", "down_proj"], seed: 5 };
const IDS = [3, 1, 4, 1, 5];

describe("an adapter that is adopted", () => {
  let folder: string;
  let model: string;
  /** Two versions, each as an adapter and as a whole folder. */
  const versions: { readonly adapter: PublishedPolicy; readonly checkpoint: PublishedPolicy }[] = [];
  const sampling = () => EngineCore.open(model, ENGINE_OPTIONS);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-adopted-"));
    model = await writeRandomModel(join(folder, "base"));
    const trainer = await EngineCore.open(model, { ...ENGINE_OPTIONS, lora: LORA });
    for (let step = 1; step <= 2; step++) {
      const groups = randomGroups(step, [[6, [4, 3]]]);
      const denominators = { tokens: 7, sequences: 2 };
      await trainer.forwardBackward(
        { groups, loss: TEST_LOSS, denominators, microBatchTokens: 4096, oldPolicy: null },
        signal,
      );
      trainer.optimStep({ ...TEST_OPTIMISER, learningRate: 0.05 }, false);
      const adapter = await trainer.publish("adapter", join(folder, `adapter-${step}`));
      versions.push({ adapter, checkpoint: await trainer.publish("checkpoint", join(folder, `whole-${step}`)) });
    }
    trainer.dispose();
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("gives the very weights of the trainer, also after another one, and after a whole folder", async () => {
    const core = await sampling();
    const untrained = core.lastLogits(IDS);
    const [first, second] = versions as [(typeof versions)[number], (typeof versions)[number]];
    const logits: Float32Array[] = [];
    for (const { checkpoint } of [first, second]) {
      await core.adopt({ ...checkpoint, version: checkpoint.version });
      logits.push(core.lastLogits(IDS));
    }
    expect(logits[0]).not.toEqual(untrained);
    for (const [at, { adapter }] of [first, second, first].entries()) {
      await core.adopt(adapter);
      expect(core.lastLogits(IDS)).toEqual(logits[at % 2]);
      expect(core.version()).toEqual(adapter.version);
    }
    core.dispose();
  });

  it("leaves nothing of another adapter behind that had more weights", async () => {
    const core = await sampling();
    await core.adopt((versions[1] as (typeof versions)[number]).adapter);
    const wider = await EngineCore.open(model, { ...ENGINE_OPTIONS, lora: { ...LORA, targets: ["k_proj"] } });
    const narrow = await wider.publish("adapter", join(folder, "fresh"));
    wider.dispose();
    await core.adopt({ ...narrow, version: { n: 9, sha256: "x" } });
    const base = await sampling();
    // B is 0 in an adapter that was not trained.
    expect(core.lastLogits(IDS)).toEqual(base.lastLogits(IDS));
    core.dispose();
    base.dispose();
  });

  const changed = async (name: string, change: (config: Record<string, unknown>) => object) => {
    const { adapter } = versions[0] as (typeof versions)[number];
    const uri = join(folder, name);
    await cp(adapter.artifact.uri, uri, { recursive: true });
    const path = join(uri, "adapter_config.json");
    await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, "utf8")))));
    return { ...adapter, artifact: { ...adapter.artifact, uri } } as PublishedPolicy;
  };

  it.each([
    ["of another rank", { r: 4 }, "does not fit"],
    ["scaled otherwise", { use_rslora: true }, "use_rslora = true"],
    ["without a rank", { r: null }, "names no rank"],
  ])("is refused %s, and the weights stay", async (name, change, message) => {
    const core = await sampling();
    const before = core.lastLogits(IDS);
    const policy = await changed(name, (config) => ({ ...config, ...change }));
    await expect(core.adopt(policy)).rejects.toMatchObject({
      code: "WEIR_E_POLICY_VERSION",
      message: expect.stringContaining(message),
    });
    expect(core.lastLogits(IDS)).toEqual(before);
    core.dispose();
  });

  it("is refused where it was trained on other weights", async () => {
    const other = await writeRandomModel(join(folder, "other"), { num_hidden_layers: 3 });
    const core = await EngineCore.open(other, ENGINE_OPTIONS);
    await expect(core.adopt((versions[0] as (typeof versions)[number]).adapter)).rejects.toThrow("trained on weights");
    core.dispose();
  });
});
