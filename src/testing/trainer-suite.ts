/** Owns the conformance suite of trainers; the embedded engine's runs it too. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PolicyVersion } from "../contracts/policy-version.js";
import { ARTIFACT_KINDS, type ArtifactKind } from "../contracts/published-policy.js";
import type { OptimiserConfig, PolicyBatch, PolicyLossConfig, Trainer, TrainGroup } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { LOSS_NAMES } from "../losses/index.js";
import { lossSettings } from "../losses/settings.js";
import { checksOf, registerSuite, type SuiteOptions } from "./framework.js";

export interface TrainerSuiteOptions extends SuiteOptions {
  readonly create: () => Trainer | Promise<Trainer>;
  /** Token ids that the model knows, at least six different ones. */
  readonly ids?: readonly number[];
  /** Largest difference of log-probs and losses that stands for equal, nats. */
  readonly tolerance?: number;
}

const LOSS: PolicyLossConfig = {
  name: "grpo",
  settings: lossSettings("grpo"),
  aggregation: "token-mean",
  lossScale: 8,
  klCoefficient: 0,
  klEstimator: "k3",
  entropyCoefficient: 0,
  temperature: 1,
};
const OPTIMISER: OptimiserConfig = {
  learningRate: 1e-3,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0,
  decayScope: "all",
  maxGradNorm: null,
};
const live = () => ({ signal: new AbortController().signal });
const coded = (code: string) => (error: unknown) => WeirError.isInstance(error) && error.code === code;

/** One group of two completions, the first better than the second, and what is asked of a trainer with it. */
class Fixture {
  readonly completions: readonly (readonly number[])[];
  private readonly group: TrainGroup;

  constructor(
    readonly ids: readonly number[],
    /** Largest difference that stands for equal. */
    readonly tolerance: number,
  ) {
    const [a, b, c, d, e, f] = ids as [number, number, number, number, number, number];
    this.completions = [
      [d, e, f],
      [f, a],
    ];
    this.group = {
      promptIds: [a, b, c],
      completions: this.completions.map((tokenIds, g) => ({
        tokenIds,
        advantages: tokenIds.map(() => (g === 0 ? 1 : -1)),
        oldLogprobs: null,
        refLogprobs: null,
      })),
    };
  }

  batch(oldPolicy: PolicyVersion, microBatchTokens = 256): PolicyBatch {
    const denominators = { tokens: 5, sequences: 2 };
    return { groups: [this.group], loss: LOSS, denominators, microBatchTokens, oldPolicy };
  }

  async scores(trainer: Trainer, which: "policy" | "reference" = "policy") {
    const of = [{ promptIds: this.group.promptIds, completions: this.completions }];
    return (await trainer.logprobs(of, { ...live(), temperature: 1, which, microBatchTokens: 256 })).logprobs;
  }

  publish(trainer: Trainer) {
    return published(trainer);
  }

  async step(trainer: Trainer) {
    const { version } = await this.publish(trainer);
    await trainer.forwardBackward(this.batch(version), live());
    return trainer.optimStep(OPTIMISER, live());
  }

  near(found: PerToken, expected: PerToken, what: string): void {
    const flat = expected.flat(2);
    found.flat(2).forEach((value, i) => {
      const gap = Math.abs(value - (flat[i] as number));
      assert.ok(gap <= this.tolerance, `${what}: token ${i} differs by ${gap}`);
    });
  }
}

type PerToken = readonly (readonly (readonly number[])[])[];
type Check = (trainer: Trainer, at: Fixture) => Promise<void> | void;

const CHECKS: Readonly<Record<string, Check>> = {
  "declares a kind, specification version 2, its capabilities and its model": (trainer) => {
    const { kind, specificationVersion, capabilities, model } = trainer;
    assert.equal(typeof kind, "string");
    assert.notEqual(kind, "");
    assert.equal(specificationVersion, 2);
    assert.ok(
      capabilities.losses.every((name) => LOSS_NAMES.includes(name)),
      `losses ${capabilities.losses}`,
    );
    assert.ok(
      capabilities.publishes.every((form) => ARTIFACT_KINDS.includes(form)),
      `${capabilities.publishes}`,
    );
    assert.ok(capabilities.publishes.length > 0, "publishes something");
    assert.ok(model.parameters > 0 && model.vocabSize > 0 && model.maxPositions > 0, JSON.stringify(model));
  },
  "gives finite metrics, and a log-prob for each token of each completion": async (trainer, at) => {
    const { version } = await at.publish(trainer);
    const { logprobs, entropy, ...numbers } = await trainer.forwardBackward(at.batch(version), live());
    for (const [name, value] of Object.entries(numbers)) assert.ok(Number.isFinite(value), `${name} ${value}`);
    if (trainer.capabilities.entropies === false) assert.equal(entropy, null, "no entropy, as the capabilities say");
    else assert.ok(Number.isFinite(entropy), `entropy ${entropy}`);
    assert.deepEqual(
      logprobs.map((rows) => rows.map((row) => row.length)),
      [at.completions.map((row) => row.length)],
    );
    at.near(logprobs, await at.scores(trainer), "the pass and logprobs()");
  },
  "counts no token of weight 0": async (trainer, at) => {
    const { version } = await at.publish(trainer);
    const whole = at.batch(version);
    const groups = whole.groups.map((group) => ({
      ...group,
      completions: group.completions.map((one) => ({
        ...one,
        weights: one.tokenIds.map((_, t) => (t === 0 ? 0 : 0.5)),
      })),
    }));
    const denominators = { tokens: 3, sequences: 2 };
    const { tokens, logprobs } = await trainer.forwardBackward({ ...whole, groups, denominators }, live());
    assert.equal(tokens, 3, "tokens that count");
    at.near(logprobs, await at.scores(trainer), "log-probs, those of weight 0 too");
  },
  "takes its own log-probs for those of the version it holds, and refuses another version": async (trainer, at) => {
    const { version } = await at.publish(trainer);
    const { ratioMax, klOldK3 } = await trainer.forwardBackward(at.batch(version), live());
    assert.ok(Math.abs(ratioMax - 1) <= at.tolerance, `ratio ${ratioMax}`);
    assert.ok(Math.abs(klOldK3) <= at.tolerance, `KL ${klOldK3}`);
    const other = { n: version.n + 7, sha256: "0" };
    await assert.rejects(async () => trainer.forwardBackward(at.batch(other), live()), coded("WEIR_E_POLICY_VERSION"));
  },
  "gives the same loss however the batch is split (I6)": async (trainer, at) => {
    const { version } = await at.publish(trainer);
    const whole = await trainer.forwardBackward(at.batch(version), live());
    const split = await trainer.forwardBackward(at.batch(version, 8), live());
    assert.ok(Math.abs(whole.loss - split.loss) <= at.tolerance, `${whole.loss} and ${split.loss}`);
  },
  "tells a gradient's norm before the step, and throws it away when told to": async (trainer, at) => {
    if (!trainer.capabilities.discardsGradients) return;
    const before = await at.scores(trainer);
    const { version } = await at.publish(trainer);
    await trainer.forwardBackward(at.batch(version), live());
    const norm = await trainer.gradientNorm(live());
    assert.ok(norm > 0, `norm ${norm}`);
    await trainer.discardGradients(live());
    await assert.rejects(async () => trainer.optimStep(OPTIMISER, live()), coded("WEIR_E_STATE"));
    at.near(await at.scores(trainer), before, "after a gradient was thrown away");
    await trainer.forwardBackward(at.batch(version), live());
    const { gradNorm } = await trainer.optimStep(OPTIMISER, live());
    assert.ok(Math.abs(gradNorm - norm) <= at.tolerance * Math.max(1, norm), `${gradNorm} and ${norm}`);
  },
  "undoes a revisable step as if it had not been taken, or leaves a share of it": async (trainer, at) => {
    const { reviseStep, capabilities } = trainer;
    if (capabilities.revisesSteps !== true) return;
    assert.ok(reviseStep !== undefined, "capabilities.revisesSteps goes with reviseStep()");
    const revise = (share: number) => reviseStep.call(trainer, share, live());
    await at.step(trainer);
    const { version } = await at.publish(trainer);
    const before = await at.scores(trainer);
    await assert.rejects(async () => revise(0), coded("WEIR_E_STATE"));
    const trial = async () => {
      await trainer.forwardBackward(at.batch(version), live());
      await trainer.optimStep(OPTIMISER, { ...live(), revisable: true });
      return at.scores(trainer);
    };
    const whole = await trial();
    await revise(0);
    assert.deepEqual(await at.scores(trainer), before, "log-probs after the step was undone");
    assert.deepEqual((await at.publish(trainer)).version, version, "the version after the step was undone");
    at.near(await trial(), whole, "the same step again");
    await revise(0.5);
    await assert.rejects(async () => revise(0), coded("WEIR_E_STATE"));
    const half = await at.scores(trainer);
    const [from, to, between] = [before, whole, half].map((scores) => scores[0]?.[0]?.[0] ?? Number.NaN) as [
      number,
      number,
      number,
    ];
    assert.ok((between - from) * (to - between) >= 0, `${between} lies between ${from} and ${to}`);
    const { version: next } = await at.publish(trainer);
    assert.ok(next.n > version.n, "a step of which a share is left is published");
    await trainer.forwardBackward(at.batch(next), live());
    await trainer.optimStep(OPTIMISER, { ...live(), revisable: true });
    await revise(1);
    assert.ok((await at.publish(trainer)).version.n > next.n, "a step that is left is published");
  },
  "makes the better completion likelier and the worse one less likely": async (trainer, at) => {
    const before = await at.scores(trainer);
    const { applied } = await at.step(trainer);
    assert.equal(applied, true);
    const after = await at.scores(trainer);
    const sum = (row: readonly number[] | undefined) => (row ?? []).reduce((x, y) => x + y, 0);
    assert.ok(sum(after[0]?.[0]) > sum(before[0]?.[0]), "the better one");
    assert.ok(sum(after[0]?.[1]) < sum(before[0]?.[1]), "the worse one");
  },
  "names its weights once per publication that found them changed": async (trainer, at) => {
    const { version: first } = await at.publish(trainer);
    assert.deepEqual((await at.publish(trainer)).version, first);
    await at.step(trainer);
    await at.step(trainer);
    const { version: next } = await at.publish(trainer);
    assert.ok(next.n > first.n, `${first.n} and ${next.n}`);
    assert.notEqual(next.sha256, first.sha256);
  },
  "goes back to a saved state and on from there alike": async (trainer, at) => {
    const folder = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    try {
      await at.step(trainer);
      const { version } = await at.publish(trainer);
      await trainer.saveState(folder, live());
      await at.step(trainer);
      const further = await at.scores(trainer);
      assert.deepEqual(await trainer.loadState(folder, live()), version);
      await at.step(trainer);
      at.near(await at.scores(trainer), further, "after the same step again");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  "numbers what it loaded above the versions that were given since, where it is asked to": async (trainer, at) => {
    const folder = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    const again = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    try {
      await at.publish(trainer);
      await trainer.saveState(folder, live());
      const before = await at.scores(trainer);
      await at.step(trainer);
      const { version: last } = await at.publish(trainer);
      const loaded = await trainer.loadState(folder, { ...live(), above: last.n + 3 });
      assert.ok(loaded.n >= last.n + 3, `loaded as version ${loaded.n}`);
      at.near(await at.scores(trainer), before, "after it was loaded");
      // The state of weights that wait for their new number keeps it waiting.
      await trainer.saveState(again, live());
      await trainer.loadState(again, live());
      const { version } = await at.publish(trainer);
      assert.ok(version.n > last.n + 3, `published as version ${version.n}`);
    } finally {
      await rm(folder, { recursive: true, force: true });
      await rm(again, { recursive: true, force: true });
    }
  },
  "gives up a state that it keeps elsewhere, and no other": async (trainer, at) => {
    if (trainer.forgetState === undefined) return;
    const folder = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    const other = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    const none = await mkdtemp(join(tmpdir(), "weir-trainer-"));
    try {
      await trainer.saveState(folder, live());
      await trainer.saveState(other, live());
      const before = await at.scores(trainer);
      // A second time, and where nothing was saved, it does nothing.
      for (const given of [folder, folder, none]) await trainer.forgetState(given, live());
      await trainer.loadState(other, live());
      at.near(await at.scores(trainer), before, "after another state was given up");
    } finally {
      for (const given of [folder, other, none]) await rm(given, { recursive: true, force: true });
    }
  },
  "keeps the reference as it was frozen": async (trainer, at) => {
    if (!trainer.capabilities.reference) return;
    await trainer.freezeReference(live());
    const frozen = await at.scores(trainer, "reference");
    at.near(frozen, await at.scores(trainer), "when it was frozen");
    await at.step(trainer);
    at.near(await at.scores(trainer, "reference"), frozen, "after a step");
  },
  "trains on supervised rows": async (trainer, at) => {
    const rows = [{ tokenIds: at.ids.slice(0, 4), lossMask: [0, 0, 1, 1] }];
    const { loss, tokens } = await trainer.sftForwardBackward(
      { rows, aggregation: "token-mean", microBatchTokens: 64 },
      live(),
    );
    assert.ok(Number.isFinite(loss) && loss > 0, `loss ${loss}`);
    assert.ok(tokens > 0, `tokens ${tokens}`);
    assert.equal((await trainer.optimStep(OPTIMISER, live())).applied, true);
    await trainer.resetOptimiser(live());
  },
};

export function describeTrainer(options: TrainerSuiteOptions): void {
  const fixture = new Fixture(options.ids ?? [1, 2, 3, 4, 5, 6], options.tolerance ?? 1e-5);
  registerSuite("trainer contract", checksOf(CHECKS, options.create, fixture), options);
}

/** Publishes in whichever form the trainer has, and throws the files away. */
async function published(trainer: Trainer) {
  const as: ArtifactKind = trainer.capabilities.publishes.includes("handle")
    ? "handle"
    : (trainer.capabilities.publishes[0] as ArtifactKind);
  if (as === "handle") return trainer.publish({ ...live(), as, folder: null });
  const folder = await mkdtemp(join(tmpdir(), "weir-published-"));
  try {
    return await trainer.publish({ ...live(), as, folder });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
