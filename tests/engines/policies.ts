/** Policies of a model for tests of samplers: made by the embedded engine, which also says what their log-probs have to be. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Engine, LoraOptions } from "../../src/contracts/engine.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { SamplePrompt, SampleReply } from "../../src/contracts/sampler.js";
import { startInProcessEngine } from "../../src/model/engine/in-process.js";
import { ENGINE_OPTIONS } from "../helpers/engines.js";

const live = () => ({ signal: new AbortController().signal });

export const ADAPTERS: LoraOptions = {
  rank: 8,
  alpha: 16,
  seed: 1,
  targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

export class PolicyMaker {
  private constructor(
    private readonly engine: Engine,
    private readonly folder: string,
    private readonly as: "adapter" | "checkpoint",
  ) {}

  /** Trains adapters, or with `lora` null all weights. */
  static async open(model: string, folder: string, lora: LoraOptions | null): Promise<PolicyMaker> {
    const engine = await startInProcessEngine({ modelDir: model, options: { ...ENGINE_OPTIONS, lora } });
    return new PolicyMaker(engine, folder, lora === null ? "checkpoint" : "adapter");
  }

  /** Takes one large step of training and publishes the weights. */
  async next(learningRate = 0.05): Promise<PublishedPolicy> {
    const { trainer } = this.engine;
    const rows = [{ tokenIds: [7, 5, 9, 11, 30, 8], lossMask: [0, 1, 1, 1, 1, 1] }];
    await trainer.sftForwardBackward({ rows, aggregation: "token-mean", microBatchTokens: 64 }, live());
    await trainer.optimStep(
      { learningRate, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, decayScope: "all", maxGradNorm: null },
      live(),
    );
    return this.publish();
  }

  async publish(): Promise<PublishedPolicy> {
    const folder = join(this.folder, `${this.as}-${Date.now()}-${Math.random()}`);
    mkdirSync(folder, { recursive: true });
    return await this.engine.trainer.publish({ ...live(), as: this.as, folder });
  }

  /** Largest difference, nats, between the log-probs of a reply and those of the present weights. */
  async mismatch(prompts: readonly SamplePrompt[], { sequences }: SampleReply, temperature = 1): Promise<number> {
    const groups = prompts.map(({ promptIds }, p) => ({
      promptIds,
      completions: (sequences[p] ?? []).map(({ tokenIds }) => tokenIds),
    }));
    const options = { ...live(), temperature, which: "policy", microBatchTokens: 512 } as const;
    const { logprobs } = await this.engine.trainer.logprobs(groups, options);
    const given = sequences.flat().flatMap((sequence) => sequence.logprobs);
    const own = logprobs.flat(2);
    return Math.max(...given.map((value, i) => Math.abs(value - (own[i] as number))));
  }

  close(): Promise<void> {
    return this.engine.close();
  }
}
