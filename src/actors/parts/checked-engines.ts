/**
 * Checks what samplers, trainers, policy stores and guards of the user's own give. A sampler's sequences are checked token by
 * token: a log-prob that is missing or not finite would be trained on.
 */
import type { Guard, Preparation, Verdict } from "../../contracts/guard.js";
import type { PolicyStore } from "../../contracts/policy-store.js";
import { ARTIFACT_KINDS, type PublishedPolicy } from "../../contracts/published-policy.js";
import { LOGPROB_BASES, type SampledSequence, type SampleRequest, type Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import {
  awaitPartWithin,
  type CallLimits,
  faced,
  isFiniteNumber,
  isRecord,
  type PartLabel,
  partError,
  shown,
} from "./part-errors.js";

const SAMPLE =
  "sample(request) resolves to { sequences: per prompt one { tokenIds, logprobs, entropies or null, finish, spans } per seed, seconds }";

/** What is wrong with one drawn sequence, or null. */
function sequenceFault(given: unknown, { params, policy }: SampleRequest): string | null {
  if (!isRecord(given)) return `gave ${shown(given)} as a sequence`;
  const { tokenIds, logprobs, entropies, finish, spans } = given as Partial<SampledSequence>;
  if (!Array.isArray(tokenIds) || tokenIds.some((id) => !Number.isInteger(id) || id < 0))
    return `gave the token ids ${shown(tokenIds)}`;
  if (tokenIds.length > params.maxTokens) return `gave ${tokenIds.length} tokens, maxTokens is ${params.maxTokens}`;
  for (const [name, values] of Object.entries({ logprobs, ...(entropies === null ? {} : { entropies }) })) {
    if (!Array.isArray(values) || values.length !== tokenIds.length)
      return `gave ${name} of ${Array.isArray(values) ? values.length : shown(values)} for ${tokenIds.length} tokens`;
    const at = values.findIndex((value) => !isFiniteNumber(value));
    if (at >= 0) return `gave ${name} with ${shown(values[at])} at token ${at}`;
  }
  if (finish !== "stop" && finish !== "length" && finish !== "aborted") return `gave finish = ${shown(finish)}`;
  if (!Array.isArray(spans)) return `gave spans = ${shown(spans)}`;
  let end = 0;
  for (const span of spans as readonly unknown[]) {
    if (!isRecord(span) || !Number.isInteger(span.version) || typeof span.sha256 !== "string")
      return `gave the span ${shown(span)}`;
    if (span.start !== end || !isFiniteNumber(span.end) || span.end < end)
      return `gave spans with a gap: ${shown(spans)}`;
    if (policy !== null && "exactly" in policy && span.version !== policy.exactly)
      return `drew from version ${span.version}, version ${policy.exactly} was asked for`;
    end = span.end;
  }
  return end === tokenIds.length ? null : `gave spans over ${end} of ${tokenIds.length} tokens`;
}

export function replyFault(given: unknown, request: SampleRequest): string | null {
  if (!isRecord(given)) return `gave ${shown(given)}`;
  if (!isFiniteNumber(given.seconds)) return `gave seconds = ${shown(given.seconds)}`;
  const { sequences } = given;
  if (!Array.isArray(sequences) || sequences.length !== request.prompts.length)
    return `gave sequences for ${Array.isArray(sequences) ? sequences.length : shown(sequences)} of ${request.prompts.length} prompts`;
  for (const [p, { seeds }] of request.prompts.entries()) {
    const group: unknown = sequences[p];
    if (!Array.isArray(group) || group.length !== seeds.length)
      return `gave ${Array.isArray(group) ? group.length : shown(group)} sequences for prompt ${p}, ${seeds.length} were asked for`;
    for (const sequence of group) {
      const wrong = sequenceFault(sequence, request);
      if (wrong !== null) return `${wrong} (prompt ${p})`;
    }
  }
  return null;
}

interface Connecting {
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
}

/** `connect` of a part that has one. */
function checkedConnect(part: Connecting, label: PartLabel, limits: CallLimits): Connecting {
  const { connect } = part;
  if (connect === undefined) return {};
  const contract = "connect() resolves once its server answers, and rejects with WEIR_E_UNREACHABLE where it does not";
  return {
    connect: ({ signal }) =>
      awaitPartWithin(label, "connect()", contract, limits, signal, (own) => connect.call(part, { signal: own })),
  };
}

/** `limits` hold for calls whose request names no deadline. */
export function checkedSampler(sampler: Sampler, label: PartLabel, limits: CallLimits): Sampler {
  const { timers } = limits;
  return faced(sampler, {
    ...checkedConnect(sampler, label, limits),
    async sample(request, { signal }) {
      const draw = (own: AbortSignal) => sampler.sample(request, { signal: own });
      const given = await awaitPartWithin(
        label,
        "sample()",
        SAMPLE,
        { limitMs: request.deadlineMs, timers },
        signal,
        draw,
      );
      const wrong = replyFault(given, request);
      if (wrong !== null) throw partError(label, wrong, SAMPLE);
      return given;
    },
    adopt: (policy, { signal, inFlight }) =>
      awaitPartWithin(label, "adopt()", "adopt(policy) resolves once it can be sampled from", limits, signal, (own) =>
        sampler.adopt(policy, { signal: own, inFlight }),
      ),
    release: (version, { signal }) =>
      awaitPartWithin(label, "release()", "release(version) resolves", limits, signal, (own) =>
        sampler.release(version, { signal: own }),
      ),
  });
}

/** Errors: WEIR_E_PART for capabilities that are not those of the contract. */
export function assertSamplerCapabilities({ capabilities }: Sampler, label: PartLabel): void {
  const contract = `capabilities has logprobBasis: ${LOGPROB_BASES.join(", ")}, adopts: of ${ARTIFACT_KINDS.join(", ")}, and the other fields of SamplerCapabilities`;
  if (!isRecord(capabilities)) throw partError(label, `has capabilities = ${shown(capabilities)}`, contract);
  if (!(LOGPROB_BASES as readonly unknown[]).includes(capabilities.logprobBasis))
    throw partError(label, `has the logprobBasis ${shown(capabilities.logprobBasis)}`, contract);
  if (!Array.isArray(capabilities.adopts))
    throw partError(label, `has adopts = ${shown(capabilities.adopts)}`, contract);
}

const METRICS =
  "forwardBackward(), sftForwardBackward() and their rehearsals resolve to metrics with a finite loss and the number of tokens";

/** What a trainer gives that enters decisions: losses, norms, versions. */
export function checkedTrainer(trainer: Trainer, label: PartLabel, limits: CallLimits): Trainer {
  const metrics = <T>(given: T, call: string): T => {
    const { loss, tokens } = (isRecord(given) ? given : {}) as { readonly loss?: unknown; readonly tokens?: unknown };
    if (isFiniteNumber(loss) && isFiniteNumber(tokens)) return given;
    throw partError(label, `gave ${shown(given)} from ${call}`, METRICS);
  };
  const ask = <T>(call: string, contract: string, signal: AbortSignal, work: (own: AbortSignal) => Promise<T>) =>
    awaitPartWithin(label, `${call}()`, contract, limits, signal, work);
  const done = (call: string, signal: AbortSignal, work: (own: AbortSignal) => Promise<void>) =>
    ask(call, `${call}() resolves`, signal, work);
  const number = (given: unknown, call: string): number => {
    if (typeof given === "number") return given;
    throw partError(label, `gave ${shown(given)} from ${call}`, "gradientNorm() resolves to a number");
  };
  const { reviseStep, rehearse, rehearseSft, forgetState } = trainer;
  return faced(trainer, {
    ...checkedConnect(trainer, label, limits),
    ...(rehearse && {
      rehearse: async (batch, options) => {
        const pass = (signal: AbortSignal) => rehearse.call(trainer, batch, { ...options, signal });
        return metrics(await ask("rehearse", METRICS, options.signal, pass), "rehearse()");
      },
    }),
    ...(rehearseSft && {
      rehearseSft: async (batch, options) => {
        const pass = (signal: AbortSignal) => rehearseSft.call(trainer, batch, { ...options, signal });
        return metrics(await ask("rehearseSft", METRICS, options.signal, pass), "rehearseSft()");
      },
    }),
    ...(reviseStep && {
      reviseStep: (share, { signal }) =>
        done("reviseStep", signal, (own) => reviseStep.call(trainer, share, { signal: own })),
    }),
    ...(forgetState && {
      forgetState: (folder, { signal }) =>
        done("forgetState", signal, (own) => forgetState.call(trainer, folder, { signal: own })),
    }),
    forwardBackward: async (batch, options) => {
      const pass = (signal: AbortSignal) => trainer.forwardBackward(batch, { ...options, signal });
      return metrics(await ask("forwardBackward", METRICS, options.signal, pass), "forwardBackward()");
    },
    sftForwardBackward: async (batch, options) => {
      const pass = (signal: AbortSignal) => trainer.sftForwardBackward(batch, { ...options, signal });
      return metrics(await ask("sftForwardBackward", METRICS, options.signal, pass), "sftForwardBackward()");
    },
    gradientNorm: async ({ signal }) =>
      number(
        await ask("gradientNorm", "gradientNorm() resolves to a number", signal, (own) =>
          trainer.gradientNorm({ signal: own }),
        ),
        "gradientNorm()",
      ),
    discardGradients: ({ signal }) =>
      done("discardGradients", signal, (own) => trainer.discardGradients({ signal: own })),
    freezeReference: ({ signal }) => done("freezeReference", signal, (own) => trainer.freezeReference({ signal: own })),
    resetOptimiser: ({ signal }) => done("resetOptimiser", signal, (own) => trainer.resetOptimiser({ signal: own })),
    optimStep: async (config, options) => {
      const contract =
        "optimStep() resolves to { applied: boolean, gradNorm: number, gradNormByTensor: record or null }";
      const step = (signal: AbortSignal) => trainer.optimStep(config, { ...options, signal });
      const given = await ask("optimStep", contract, options.signal, step);
      if (typeof given?.applied !== "boolean" || typeof given.gradNorm !== "number")
        throw partError(label, `gave ${shown(given)} from optimStep()`, contract);
      return given;
    },
    logprobs: async (groups, options) => {
      const score = (signal: AbortSignal) => trainer.logprobs(groups, { ...options, signal });
      const given = await ask("logprobs", LOGPROBS, options.signal, score);
      if (!fitsGroups(given, groups)) throw partError(label, `gave ${shown(given)} from logprobs()`, LOGPROBS);
      if (given.logprobs.flat(2).every(Number.isFinite)) return given;
      if (options.which === "reference") throw partError(label, `gave ${shown(given)} from logprobs()`, LOGPROBS);
      // An optimiser step may have broken the weights; a guard that tries a step undoes it then.
      throw new WeirError(
        "WEIR_E_NON_FINITE",
        `log-probs of the policy by the trainer "${label.name}" are not finite: its weights are broken; go back to a checkpoint and lower optimiser.learningRate`,
        { metric: "logprobs" },
      );
    },
    publish: async (options) => {
      const hand = (signal: AbortSignal) => trainer.publish({ ...options, signal });
      return published(await ask("publish", PUBLISHED, options.signal, hand), "publish()", label);
    },
    saveState: (folder, { signal }) =>
      ask("saveState", "saveState(folder) resolves", signal, (own) => trainer.saveState(folder, { signal: own })),
    loadState: async (folder, options) => {
      const contract =
        "loadState(folder, { above }) resolves to the version { n, sha256 } of what it loaded, with n of `above` or more where that is given";
      const load = (signal: AbortSignal) => trainer.loadState(folder, { ...options, signal });
      const given = await ask("loadState", contract, options.signal, load);
      const numbered = Number.isInteger(given?.n) && given.n >= (options.above ?? given.n);
      if (!numbered || typeof given.sha256 !== "string")
        throw partError(label, `gave ${shown(given)} from loadState()`, contract);
      return given;
    },
  });
}

const LOGPROBS =
  "logprobs(groups) resolves to { logprobs, entropies }: finite log-probs per group, completion and token";

function fitsGroups(
  given: unknown,
  groups: readonly { readonly completions: readonly (readonly number[])[] }[],
): boolean {
  const rows = isRecord(given) ? given.logprobs : null;
  if (!Array.isArray(rows) || rows.length !== groups.length) return false;
  return groups.every(({ completions }, p) =>
    completions.every((ids, g) => {
      const row: unknown = (rows[p] as unknown[] | undefined)?.[g];
      return Array.isArray(row) && row.length === ids.length && row.every((value) => typeof value === "number");
    }),
  );
}

const RETAINED = "retain(versions) resolves once the others are gone";
const PUBLISHED = "a published policy is { version: { n, sha256 }, artifact: { kind, uri, … }, bytes }";

function published(given: unknown, call: string, label: PartLabel): PublishedPolicy {
  const { version, artifact, bytes } = (isRecord(given) ? given : {}) as Partial<
    Record<keyof PublishedPolicy, unknown>
  >;
  const named = isRecord(version) && Number.isInteger(version.n) && typeof version.sha256 === "string";
  const placed =
    isRecord(artifact) &&
    (ARTIFACT_KINDS as readonly unknown[]).includes(artifact.kind) &&
    typeof artifact.uri === "string";
  if (named && placed && isFiniteNumber(bytes)) return given as PublishedPolicy;
  throw partError(label, `gave ${shown(given)} from ${call}`, PUBLISHED);
}

/** The trainer writes, under a deadline of its own, while the store publishes: that takes two of them together. */
const TRAINER_AND_STORE = 2;

export function checkedPolicyStore(store: PolicyStore, label: PartLabel, limits: CallLimits): PolicyStore {
  const whole = { ...limits, limitMs: TRAINER_AND_STORE * limits.limitMs };
  return faced(store, {
    ...checkedConnect(store, label, limits),
    publish: async (as, write, { signal }) => {
      const call = (own: AbortSignal) => store.publish(as, write, { signal: own });
      return published(await awaitPartWithin(label, "publish()", PUBLISHED, whole, signal, call), "publish()", label);
    },
    retain: (versions) =>
      awaitPartWithin(label, "retain()", RETAINED, limits, new AbortController().signal, () => store.retain(versions)),
  });
}

const VERDICT =
  'judge(evidence) returns, at once or by a promise, { action: "commit" }, { action: "skip" or "rollback", reason: string }, or ' +
  '{ action: "shrink", scale: a number between 0 and 1, reason: string }';

function isVerdict(given: unknown): given is Verdict {
  if (!isRecord(given)) return false;
  const { action, reason, scale } = given;
  if (action === "commit") return true;
  if (typeof reason !== "string") return false;
  if (action === "shrink") return isFiniteNumber(scale) && scale > 0 && scale < 1;
  return action === "skip" || action === "rollback";
}

const PREPARATION =
  "prepare(batch) returns, at once or by a promise, { maskNegatives: boolean, entropyCoefficient: number or null, reason: string or null }";

function isPreparation(given: unknown): given is Preparation {
  if (!isRecord(given)) return false;
  const { maskNegatives, entropyCoefficient, reason } = given;
  const numbered = entropyCoefficient === null || isFiniteNumber(entropyCoefficient);
  return typeof maskNegatives === "boolean" && numbered && (reason === null || typeof reason === "string");
}

export function checkedGuard(guard: Guard, label: PartLabel, limits: CallLimits): Guard {
  if ((guard.snapshot === undefined) !== (guard.restore === undefined))
    throw partError(label, "has only one of snapshot() and restore()", "a guard has both or neither");
  const { prepare } = guard;
  return faced(guard, {
    ...(prepare && {
      async prepare(batch, { signal }) {
        const call = (own: AbortSignal) => prepare.call(guard, batch, { signal: own });
        const given: unknown = await awaitPartWithin(label, "prepare()", PREPARATION, limits, signal, call);
        if (!isPreparation(given)) throw partError(label, `gave ${shown(given)} from prepare()`, PREPARATION);
        return given;
      },
    }),
    async judge(evidence, { signal }) {
      const call = (own: AbortSignal) => guard.judge(evidence, { signal: own });
      const given: unknown = await awaitPartWithin(label, "judge()", VERDICT, limits, signal, call);
      if (!isVerdict(given)) throw partError(label, `gave ${shown(given)} as its verdict`, VERDICT);
      return given;
    },
  });
}
