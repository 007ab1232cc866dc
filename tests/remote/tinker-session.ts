/** What a run asks of a Tinker-compatible server, in short; the same on a real one and on its recording. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { LORA_TARGETS } from "../../src/contracts/engine.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import type { OptimiserConfig, PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { lossSettings } from "../../src/losses/settings.js";
import { FIXTURES } from "../helpers/fixtures.js";

const signal = new AbortController().signal;
/** Recorded by tests/engines/tinker.test.ts with WEIR_RECORD=FOLDER. */
export const SKYRL_RECORDING = join(FIXTURES, "servers", "skyrl-0.4.0.json");
export const SESSION_LORA = {
  rank: 4,
  alpha: 32,
  targets: LORA_TARGETS,
  seed: 1,
} as const;
export const SESSION_ADAM: OptimiserConfig = {
  learningRate: 1e-3,
  betas: [0.9, 0.99],
  epsilon: 1e-8,
  weightDecay: 0,
  decayScope: "all",
  maxGradNorm: null,
};

export interface SessionOutcome {
  readonly versions: readonly number[];
  readonly drawn: readonly (readonly number[])[];
  readonly finishes: readonly string[];
  /** Largest |sampler − trainer| log-prob of the drawn tokens. */
  readonly mismatch: number;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** Log-probs of one sequence: at first, after the steps, and after the state was loaded. */
  readonly scores: readonly (readonly number[])[];
  readonly rank: number | null;
}

/** Warm-up, publication, sampling, an RL step with the server's own loss and one by coefficients, and a state saved and loaded. */
export async function tinkerSession(trainer: Trainer, sampler: Sampler, folder: string): Promise<SessionOutcome> {
  await trainer.connect?.({ signal });
  await sampler.connect?.({ signal });
  const groups = [{ promptIds: [5, 6, 7], completions: [[8, 9, 10, 11]] }];
  const ask = { signal, temperature: 1, which: "policy", microBatchTokens: 4096 } as const;
  const score = async () => (await trainer.logprobs(groups, ask)).logprobs.flat(2);
  const rows = [{ tokenIds: [5, 6, 7, 8], lossMask: [0, 0, 1, 1] }];
  const first = await score();
  const warmup = await trainer.sftForwardBackward(
    { rows, aggregation: "seq-mean", microBatchTokens: 4096 },
    { signal },
  );
  const norms = [(await trainer.optimStep(SESSION_ADAM, { signal })).gradNorm];
  const published = await trainer.publish({ signal, as: "handle", folder: null });
  await sampler.adopt(published, { signal, inFlight: "wait" });
  const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 4, stopIds: [2] };
  const { sequences } = await sampler.sample(
    {
      id: "session",
      prompts: [{ promptIds: [5, 6, 7], seeds: [1, 2] }],
      params,
      policy: { exactly: published.version.n },
      purpose: "training",
      deadlineMs: 300_000,
    },
    { signal },
  );
  const drawn = sequences[0] ?? [];
  const completions = drawn.map(({ tokenIds }) => tokenIds);
  const scored = (await trainer.logprobs([{ promptIds: [5, 6, 7], completions }], ask)).logprobs[0] ?? [];
  const gaps = drawn.flatMap(({ logprobs }, g) => logprobs.map((x, t) => Math.abs(x - (scored[g]?.[t] ?? Number.NaN))));
  const losses = [warmup.loss];
  for (const name of ["dapo", "reinforce"]) {
    const batch: PolicyBatch = {
      groups: [
        {
          promptIds: [5, 6, 7],
          completions: drawn.map(({ tokenIds, logprobs }, g) => ({
            tokenIds,
            advantages: tokenIds.map(() => (g === 0 ? 1 : -1)),
            oldLogprobs: logprobs,
            refLogprobs: null,
          })),
        },
      ],
      loss: {
        ...{ name, settings: lossSettings(name), aggregation: "token-mean", lossScale: 8 },
        ...{ klCoefficient: 0, klEstimator: "k3", entropyCoefficient: 0, temperature: 1 },
      },
      denominators: { tokens: completions.flat().length, sequences: completions.length },
      microBatchTokens: 4096,
      oldPolicy: null,
    };
    losses.push((await trainer.forwardBackward(batch, { signal })).loss);
    norms.push((await trainer.optimStep(SESSION_ADAM, { signal })).gradNorm);
  }
  const files = join(folder, "published");
  mkdirSync(files, { recursive: true });
  const adapter = await trainer.publish({ signal, as: "adapter", folder: files });
  const after = await score();
  const state = join(folder, "state");
  await trainer.saveState(state, { signal });
  const loaded = await trainer.loadState(state, { signal });
  const outcome: SessionOutcome = {
    versions: [published.version.n, adapter.version.n, loaded.n],
    drawn: completions,
    finishes: drawn.map(({ finish }) => finish),
    mismatch: Math.max(...gaps),
    losses,
    norms,
    scores: [first, after, await score()],
    rank: adapter.artifact.kind === "adapter" ? adapter.artifact.rank : null,
  };
  await trainer.dispose?.();
  await sampler.dispose?.();
  return outcome;
}
