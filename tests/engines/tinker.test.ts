/**
 * Trainer and sampler on SkyRL's Tinker-compatible server: the contracts' suites, and the same numbers as weir's own engine from the
 * same weights and batches.
 */
import { cpSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Engine } from "../../src/contracts/engine.js";
import type { LossAggregation } from "../../src/contracts/loss.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { LOSS_NAMES } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";
import { startInProcessEngine } from "../../src/model/engine/in-process.js";
import { createTinkerSampler } from "../../src/remote/tinker/sampler.js";
import { ServerLink } from "../../src/remote/tinker/server-link.js";
import { createTinkerTrainer } from "../../src/remote/tinker/trainer.js";
import { realTime } from "../../src/system/time.js";
import { describeSampler, describeTrainer } from "../../src/testing.js";
import { ENGINE_OPTIONS } from "../helpers/engines.js";
import {
  readTinkerRecording,
  recordingFetch,
  type TinkerExchange,
  writeTinkerRecording,
} from "../remote/tinker-exchanges.js";
import {
  SESSION_ADAM,
  SESSION_LORA,
  type SessionOutcome,
  SKYRL_RECORDING,
  tinkerSession,
} from "../remote/tinker-session.js";
import { folderOfFile, notInstalled, SMOLLM2, startSkyRl, TINY_LLAMA, writeTinyQwen3 } from "./servers.js";

const framework = { describe, it };
const signal = new AbortController().signal;
const LORA = { ...SESSION_LORA, rank: 8 };
const HANDLE = { signal, as: "handle", folder: null } as const;
/** Largest difference of log-probs and losses between two float32 engines, nats. */
const TOLERANCE = 1e-4;

const folder = folderOfFile();
/** WEIR_RECORD=FOLDER records anew; the model lies there then, since the server names its folder in what is recorded. */
const recordIn = process.env.WEIR_RECORD ?? null;
const LLAMA = recordIn === null ? TINY_LLAMA : join(recordIn, "tiny-llama");
if (recordIn !== null) cpSync(TINY_LLAMA, LLAMA, { recursive: true });
const MODELS: Record<string, string | null> = {
  "a tiny Llama": LLAMA,
  "a tiny Qwen3": join(folder, "qwen3"),
  SmolLM2: SMOLLM2,
};
/** `WEIR_TINKER_MODEL` leaves one model. */
const chosen = Object.entries(MODELS).filter(
  ([name, path]) => path !== null && (process.env.WEIR_TINKER_MODEL ?? name) === name,
) as [string, string][];

describe.skipIf(notInstalled("skyrl")).each(notInstalled("skyrl") ? [["a tiny Llama", LLAMA]] : chosen)(
  "SkyRL with %s",
  async (_name, model) => {
    if (notInstalled("skyrl")) return;
    if (model.startsWith(folder)) await writeTinyQwen3(model);
    const server = await startSkyRl({ model, folder: mkdtempSync(join(folder, "skyrl-")) });
    const connection = { url: server.url, apiKey: null, patienceMs: 5_000, deadlineMs: 300_000, time: realTime };
    const openTrainer = async (link = new ServerLink()) => {
      const trainer = createTinkerTrainer({
        ...connection,
        ...{ baseModel: null, modelDir: model, lora: LORA, lossScale: "row-mean", link },
      });
      await trainer.connect?.({ signal });
      return trainer;
    };
    const openSampler = async (link: ServerLink) => {
      const sampler = createTinkerSampler({ ...connection, link });
      await sampler.connect?.({ signal });
      return sampler;
    };

    describeTrainer({ framework, create: () => openTrainer(), tolerance: TOLERANCE });

    it.runIf(model === LLAMA)("answers a run as it did when it was recorded", async () => {
      const exchanges: TinkerExchange[] = [];
      const recorded = { ...connection, fetch: recordingFetch(exchanges) };
      const link = new ServerLink();
      const trainer = createTinkerTrainer({
        ...recorded,
        ...{ baseModel: null, modelDir: model, lora: SESSION_LORA, lossScale: "auto", link },
      });
      const sampler = createTinkerSampler({ ...recorded, link });
      const outcome = await tinkerSession(trainer, sampler, mkdtempSync(join(folder, "session-")));
      if (recordIn !== null)
        writeTinkerRecording(SKYRL_RECORDING, { server: "SkyRL 0.4.0, JAX on a CPU", outcome, exchanges });
      const before = readTinkerRecording(SKYRL_RECORDING).outcome as SessionOutcome;
      const { mismatch, scores, norms, losses, ...exact } = outcome;
      const { mismatch: _, scores: scoresThen, norms: normsThen, losses: lossesThen, ...exactThen } = before;
      expect(exact).toEqual(exactThen);
      expect(mismatch).toBeLessThan(TOLERANCE);
      [...scores.flat(), ...losses, ...norms].forEach((value, i) => {
        const then = [...scoresThen.flat(), ...lossesThen, ...normsThen][i] as number;
        expect(Math.abs(value - then)).toBeLessThan(TOLERANCE * Math.max(1, Math.abs(then)));
      });
    });

    describe("sampling", async () => {
      const link = new ServerLink();
      const trainer = await openTrainer(link);
      const policy: PublishedPolicy = await trainer.publish(HANDLE);
      describeSampler({ framework, policy, promptIds: [5, 6, 7], create: () => openSampler(link) });
    });

    describe("beside weir's own engine", () => {
      let own: Engine;
      let remote: Trainer;
      it("gives the same log-probs from the same weights", async () => {
        own = await startInProcessEngine({ modelDir: model, options: { ...ENGINE_OPTIONS, lora: LORA } });
        remote = await openTrainer();
        const groups = [
          {
            promptIds: [5, 9, 13, 17],
            completions: [
              [21, 22, 23, 24, 25, 26],
              [31, 32],
            ],
          },
        ];
        const ask = { signal, temperature: 1, which: "policy", microBatchTokens: 4096 } as const;
        const [mine, theirs] = await Promise.all([own.trainer.logprobs(groups, ask), remote.logprobs(groups, ask)]);
        expect(largestGap(mine.logprobs, theirs.logprobs)).toBeLessThan(TOLERANCE);
      });

      it.each(LOSS_NAMES)("gives the loss %s the same value, with ratios away from 1", async (name) => {
        const batch = batchOf(name, "token-mean");
        const mine = await own.trainer.forwardBackward(batch, { signal });
        const theirs = await remote.forwardBackward(batch, { signal });
        await own.trainer.discardGradients({ signal });
        await remote.discardGradients({ signal });
        for (const key of ["loss", "klOldK1", "klOldK3", "clipFraction", "tokens"] as const)
          expect(Math.abs(mine[key] - theirs[key]), key).toBeLessThan(TOLERANCE);
        // A ratio is the exponential of log-probs, and as far off as they are relative to itself.
        expect(Math.abs(Math.log(mine.ratioMax / theirs.ratioMax)), "ratioMax").toBeLessThan(TOLERANCE);
      });

      it("takes the same first steps from the same adapter", async () => {
        // The server's adapter begins elsewhere than weir's: an own engine that has taken it over is compared.
        const place = mkdtempSync(join(folder, "published-"));
        await remote.sftForwardBackward(
          { rows: [{ tokenIds: [5, 6, 7, 8], lossMask: [0, 1, 1, 1] }], aggregation: "seq-mean", microBatchTokens: 64 },
          { signal },
        );
        await remote.optimStep(SESSION_ADAM, { signal });
        await remote.publish({ signal, as: "checkpoint", folder: place });
        await own.close();
        const after = await startInProcessEngine({ modelDir: place, options: { ...ENGINE_OPTIONS } });
        const groups = [
          {
            promptIds: [5, 6],
            completions: [
              [7, 8, 9],
              [11, 12, 13, 14],
            ],
          },
        ];
        const ask = { signal, temperature: 1, which: "policy", microBatchTokens: 4096 } as const;
        const gap = largestGap(
          (await after.trainer.logprobs(groups, ask)).logprobs,
          (await remote.logprobs(groups, ask)).logprobs,
        );
        expect(gap, "merged folder and server").toBeLessThan(TOLERANCE);
        await after.close();
        await remote.dispose?.();
      });
    });
  },
);

/** Two groups of unequal lengths with π_old away from the present policy. */
function batchOf(name: string, aggregation: LossAggregation): PolicyBatch {
  const completion = (tokenIds: number[], advantage: number, old: number) => ({
    tokenIds,
    advantages: tokenIds.map(() => advantage),
    oldLogprobs: tokenIds.map((_, t) => old + 0.3 * t),
    refLogprobs: null,
  });
  return {
    groups: [
      { promptIds: [5, 9, 13], completions: [completion([21, 22, 23, 24], 1, -6), completion([31, 32], -1, -5)] },
      { promptIds: [6, 7], completions: [completion([41, 42, 43], 0.5, -6)] },
    ],
    loss: {
      ...{ name, settings: lossSettings(name), aggregation, lossScale: 8 },
      ...{ klCoefficient: 0, klEstimator: "k3", entropyCoefficient: 0, temperature: 1 },
    },
    denominators: { tokens: 9, sequences: 3 },
    microBatchTokens: 4096,
    oldPolicy: null,
  };
}

function largestGap(a: readonly (readonly (readonly number[])[])[], b: typeof a): number {
  const flat = b.flat(2);
  return a.flat(2).reduce((most, value, i) => Math.max(most, Math.abs(value - (flat[i] as number))), 0);
}
