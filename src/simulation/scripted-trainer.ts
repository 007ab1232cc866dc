import type { Config } from "../config/schema.js";
import type { Trainer, TrainGroup } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { LOSS_NAMES } from "../losses/index.js";
import type { ScriptedCalls } from "./calls.js";
import { type GroundTruth, type Identity, type ScriptedWeights, versionOf } from "./ground-truth.js";
import { type MemoryFiles, SNAPSHOT_DRAFT } from "./memory-store.js";
import type { ScriptedEngine } from "./scripted-engine.js";

/**
 * A trainer without arithmetic that checks what it is given: only responses that were scored (I1), with finite advantages, drawn by
 * weights that its own come from, at most `maxLag` versions ago (I13), and each in one update only (I2).
 */

const LOGPROB = -1;
const ENTROPY = 0.5;

export interface TrainerWorld {
  readonly config: Config;
  readonly calls: ScriptedCalls;
  readonly truth: GroundTruth;
  readonly files: MemoryFiles;
  readonly engine: ScriptedEngine;
  /** As it is set now. */
  readonly maxLag: () => number;
}

export function createScriptedTrainer(world: TrainerWorld): Trainer {
  return new ScriptedTrainer(world).part();
}

class ScriptedTrainer {
  private held: ScriptedWeights;
  private gradients = 0;
  /** Rollouts that the summed gradients come from. */
  private read: string[] = [];
  /** Weights before the last step, which can be revised; null where it cannot. */
  private before: ScriptedWeights | null = null;

  constructor(private readonly world: TrainerWorld) {
    this.held = start(world.truth);
    this.weights = this.held;
  }

  private get weights(): ScriptedWeights {
    return this.held;
  }

  private set weights(weights: ScriptedWeights) {
    this.held = weights;
    this.world.truth.weights = weights;
  }

  part(): Trainer {
    return {
      kind: "engine",
      specificationVersion: 2,
      capabilities: {
        losses: LOSS_NAMES,
        evaluates: true,
        lossScale: "denominators",
        trains: "full",
        clipsGradients: true,
        discardsGradients: true,
        revisesSteps: true,
        reference: true,
        reusesActivations: false,
        publishes: ["handle", "checkpoint"],
      },
      model: MODEL,
      ...this.gradientOperations(),
      ...this.stateOperations(),
    };
  }

  private gradientOperations() {
    const { latencies } = this.world.config.simulation;
    const counts = (tokens: number) => ({ tokens, paddedTokens: tokens, microBatches: 1 });
    const policy = (groups: readonly TrainGroup[], tokens: number) => {
      const logprobs = groups.map(({ completions }) => completions.map(({ tokenIds }) => tokenIds.map(() => LOGPROB)));
      const zero = { loss: 0, pgLoss: 0, klRef: 0, klOldK1: 0, klOldK3: 0, clipFraction: 0, clipFractionLower: 0 };
      return { ...zero, ...counts(tokens), entropy: ENTROPY, ratioMax: 1, logprobs };
    };
    return {
      forwardBackward: ({ groups, denominators }, { signal }) =>
        this.call("forwardBackward", latencies.forwardBackward, signal, () => {
          this.look(groups);
          this.gradients++;
          return policy(groups, denominators.tokens);
        }),
      sftForwardBackward: ({ rows }, { signal }) =>
        this.call("sftForwardBackward", latencies.forwardBackward, signal, () => {
          this.gradients++;
          return { loss: 1, ...counts(rows.reduce((total, { tokenIds }) => total + tokenIds.length, 0)) };
        }),
      gradientNorm: ({ signal }) => this.call("gradientNorm", 0, signal, () => this.needGradients()),
      discardGradients: ({ signal }) =>
        this.call("discardGradients", 0, signal, () => {
          this.gradients = 0;
          this.read = [];
        }),
      optimStep: (_config, { signal, revisable = false }) =>
        this.call("optimStep", latencies.optimStep, signal, () => {
          this.needGradients();
          this.gradients = 0;
          this.before = revisable ? this.weights : null;
          this.weights = { ...this.weights, changed: true, trained: [...this.weights.trained, ...this.read] };
          this.read = [];
          this.world.truth.applied++;
          return { applied: true, gradNorm: 1, gradNormByTensor: null };
        }),
      reviseStep: (share, { signal }) =>
        this.call("reviseStep", 0, signal, () => {
          if (this.before === null)
            throw new WeirError("WEIR_E_STATE", "the scripted trainer has no step that can be revised");
          if (share === 0) {
            this.weights = this.before;
            this.world.truth.applied--;
          }
          this.before = null;
        }),
      logprobs: (groups, { signal }) =>
        this.call(
          "logprobs",
          latencies.logprobs,
          signal,
          () => {
            const fill = (value: number) =>
              groups.map(({ completions }) => completions.map((ids) => ids.map(() => value)));
            return { logprobs: fill(LOGPROB), entropies: fill(ENTROPY) };
          },
          Math.min(1, groups.length / this.world.config.rollout.promptsPerStep),
        ),
    } satisfies Partial<Trainer>;
  }

  private stateOperations() {
    const { config, files, truth } = this.world;
    const { latencies } = config.simulation;
    return {
      publish: ({ signal, as, folder }) =>
        this.call("publish", latencies.publish, signal, () => {
          const version = versionOf(this.named());
          if (as === "handle" || folder === null)
            return { version, artifact: { kind: "handle", uri: "simulated" }, bytes: 0 };
          files.write(folder, this.weights);
          return { version, artifact: { kind: "checkpoint", uri: folder }, bytes: 0 };
        }),
      saveState: (folder, { signal }) => {
        // A snapshot lies in memory.
        const latency = folder.startsWith(SNAPSHOT_DRAFT) ? 0 : latencies.checkpoint;
        return this.call("saveState", latency, signal, () => files.write(folder, this.weights));
      },
      loadState: (folder, { signal, above }) =>
        this.call("loadState", latencies.checkpoint, signal, () => {
          this.gradients = 0;
          this.read = [];
          this.before = null;
          this.weights = folder === config.model.path ? start(truth) : files.read(folder);
          const { n, lineage } = this.weights;
          const named = versionOf(lineage.slice(0, n + 1).findLast((identity) => identity !== undefined) as Identity);
          if (above === undefined) return { ...named, n };
          this.weights = { ...this.weights, n: Math.max(n, above), changed: true };
          return { ...named, n: this.weights.n };
        }),
      freezeReference: ({ signal }) => this.call("freezeReference", 0, signal, () => undefined),
      resetOptimiser: ({ signal }) => this.call("resetOptimiser", 0, signal, () => undefined),
    } satisfies Partial<Trainer>;
  }

  private call<T>(
    name: string,
    latency: Config["simulation"]["latencies"]["reward"],
    signal: AbortSignal,
    work: () => T,
    share = 1,
  ): Promise<T> {
    const { calls, engine } = this.world;
    const seconds = share * calls.tools.draws.of(`trainer/${name}`, latency);
    return calls.run(`trainer.${name}`, { signal, seconds, engine }, work);
  }

  /** The published form of the weights, by a new name where they have changed. */
  private named(): Identity {
    const { truth } = this.world;
    const { n, changed, lineage } = this.weights;
    this.before = null;
    if (!changed) return lineage[n] as Identity;
    const identity = truth.identity(n + 1);
    // Versions that a rollback left behind are no weights on the way here.
    const way = lineage.slice(0, n + 1);
    way[n + 1] = identity;
    this.weights = { ...this.weights, n: n + 1, changed: false, lineage: way };
    return identity;
  }

  private needGradients(): number {
    if (this.gradients > 0) return 1;
    throw new WeirError("WEIR_E_STATE", "the scripted trainer has no gradients");
  }

  private look(groups: readonly TrainGroup[]): void {
    const { truth } = this.world;
    const maxLag = this.world.maxLag();
    const { n, lineage } = this.weights;
    for (const { tokenIds, advantages } of groups.flatMap(({ completions }) => completions)) {
      const sequence = truth.sequenceOf(tokenIds);
      if (sequence === null || sequence.outcome !== "scored") {
        truth.broken("I1", `the trainer was given a response whose reward is ${sequence?.outcome ?? "unknown"}`);
        continue;
      }
      const who = `rollout ${sequence.rolloutId}`;
      if (!advantages.every(Number.isFinite)) truth.broken("I1", `${who} has the advantages ${advantages}`);
      if (sequence.trainedAt >= 0 && sequence.trainedAt !== n)
        truth.broken("I2", `${who} was trained on at version ${sequence.trainedAt} and again at ${n}`);
      sequence.trainedAt = n;
      if (sequence.rolloutId !== null) this.read.push(sequence.rolloutId);
      for (const { identity, tokens } of sequence.spans) {
        const lag = n - identity.n;
        if (lag < 0 || lineage[identity.n] !== identity)
          truth.broken(
            "I13",
            `${who} has tokens of version ${identity.n}, which is not one that version ${n} comes from`,
          );
        else if (lag > maxLag) truth.broken("I13", `${who} has tokens ${lag} versions old, async.maxLag is ${maxLag}`);
        if (lag >= 0) truth.lags[lag] = (truth.lags[lag] ?? 0) + tokens;
      }
    }
  }
}

function start(truth: GroundTruth): ScriptedWeights {
  return { n: 0, changed: false, lineage: [truth.identities[0] as Identity], trained: [] };
}

/** Room for any configuration. */
const MODEL = {
  family: "simulated",
  parameters: 1,
  trainedParameters: 1,
  vocabSize: 2 ** 31,
  maxPositions: 2 ** 31,
  stopIds: [0],
  padId: 0,
} as unknown as Trainer["model"];
