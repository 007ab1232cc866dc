/** A trainer and a sampler on a server that can be away, lose what it holds, or fail a call after it was carried out. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sampler, SamplerCapabilities } from "../../src/contracts/sampler.js";
import type { Trainer, TrainerCapabilities, TrainingCall } from "../../src/contracts/trainer.js";
import { type ErrorCode, WeirError } from "../../src/errors.js";
import { createFakeSampler, createFakeTrainer, type FakeWeights } from "../../src/testing.js";

export interface ServerScript {
  /** The code that a call fails with, by its name and how often it was made, from 1; null lets it be answered. */
  readonly fault?: (call: string, count: number) => ErrorCode | null;
  readonly sampler?: Partial<SamplerCapabilities>;
  readonly trainer?: Partial<TrainerCapabilities>;
  /** Log-prob of every token that is drawn; −1 of the trainer. */
  readonly drawnLogprob?: number;
}

/** The parts of a run on one server, and what was asked of it. */
export function scriptedServer(script: ServerScript = {}) {
  const calls: string[] = [];
  const counts = new Map<string, number>();
  const weights: FakeWeights = { n: 0 };
  /** Optimiser steps that made the present weights. */
  const state = { steps: 0 };
  const samplings: Parameters<Sampler["sample"]>[0][] = [];
  let journal: (call: TrainingCall) => void = () => undefined;
  let number = 0;

  /** Carries a call out, and fails it afterwards where the script says so: the caller cannot tell what became of it. */
  async function call<T>(name: string, work: () => Promise<T>): Promise<T> {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    calls.push(name);
    const answer = await work();
    const code = script.fault?.(name, count) ?? null;
    if (code !== null) throw new WeirError(code, `${name} failed`);
    return answer;
  }
  const told = (name: string) => journal({ model: "m", number: ++number, call: name, sha256: "f".repeat(64) });

  const fake = createFakeTrainer(weights);
  const trainer: Trainer = {
    ...fake,
    kind: "server-trainer",
    capabilities: {
      ...fake.capabilities,
      ...{
        discardsGradients: false,
        revisesSteps: false,
        clipsGradients: false,
        reference: "base",
        publishes: ["checkpoint"],
      },
      ...script.trainer,
    },
    connect: () => call("trainer.connect", async () => undefined),
    journalTo: (write) => {
      journal = write;
    },
    gradientNorm: () => Promise.reject(new Error("the server tells none")),
    discardGradients: () => Promise.reject(new Error("the server cannot")),
    rehearse: (batch, options) => call("rehearse", () => fake.forwardBackward({ ...batch }, options)),
    forwardBackward: (batch, options) => {
      told("forward_backward");
      return call("forwardBackward", () => fake.forwardBackward(batch, options));
    },
    optimStep: (config, options) => {
      told("optim_step");
      return call("optimStep", async () => {
        state.steps += 1;
        return fake.optimStep(config, options);
      });
    },
    saveState: (folder, options) =>
      call("saveState", async () => {
        await fake.saveState(folder, options);
        await writeFile(join(folder, "steps.json"), JSON.stringify(state));
      }),
    loadState: (folder, options) =>
      call("loadState", async () => {
        const saved = await readFile(join(folder, "steps.json"), "utf8").catch(() => null);
        Object.assign(state, saved === null ? { steps: 0 } : JSON.parse(saved));
        if (saved !== null) return fake.loadState(folder, options);
        Object.assign(weights, { n: 0, changed: false });
        return { n: 0, sha256: "the base model" };
      }),
  };
  const plain = createFakeSampler();
  const sampler: Sampler = {
    ...plain,
    kind: "server-sampler",
    capabilities: { ...plain.capabilities, entropies: false, ...script.sampler },
    connect: () => call("sampler.connect", async () => undefined),
    adopt: (policy, options) => call(`adopt ${policy.version.n}`, () => plain.adopt(policy, options)),
    sample: (request, options) =>
      call(`sample for ${request.purpose}`, async () => {
        samplings.push(request);
        const reply = await plain.sample(request, options);
        const { drawnLogprob = -1 } = script;
        const sequences = reply.sequences.map((group) =>
          group.map((one) => ({ ...one, entropies: null, logprobs: one.logprobs.map(() => drawnLogprob) })),
        );
        return { ...reply, sequences };
      }),
  };
  return { trainer, sampler, calls, counts, state, samplings };
}
