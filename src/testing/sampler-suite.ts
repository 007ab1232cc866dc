/** Owns the conformance suite of samplers; the embedded engine's runs it too. */
import assert from "node:assert/strict";
import { ARTIFACT_KINDS, type PublishedPolicy } from "../contracts/published-policy.js";
import {
  LOGPROB_BASES,
  type SampledSequence,
  type SampleRequest,
  type Sampler,
  type SamplingParams,
} from "../contracts/sampler.js";
import { WeirError } from "../errors.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface SamplerSuiteOptions extends SuiteOptions {
  readonly create: () => Sampler | Promise<Sampler>;
  /** Adopted before each test; null for a sampler that holds a policy from the start, of version 0. */
  readonly policy: PublishedPolicy | null;
  /** Token ids that the model knows. */
  readonly promptIds?: readonly number[];
}

const PARAMS: SamplingParams = { temperature: 1, topP: 1, topK: 0, maxTokens: 6, stopIds: [] };
const live = () => ({ signal: new AbortController().signal });

function assertSequence(sequence: SampledSequence, sampler: Sampler, version: number): void {
  const { tokenIds, logprobs, entropies, finish, spans } = sequence;
  assert.ok(
    tokenIds.every((id) => Number.isInteger(id) && id >= 0),
    `token ids ${JSON.stringify(tokenIds)}`,
  );
  assert.equal(logprobs.length, tokenIds.length, "one log-prob per token");
  for (const value of logprobs) assert.ok(Number.isFinite(value) && value <= 1e-6, `log-prob ${value}`);
  if (!sampler.capabilities.entropies) assert.equal(entropies, null, "no entropies, as the capabilities say");
  else {
    assert.equal(entropies?.length, tokenIds.length, "one entropy per token");
    for (const value of entropies ?? []) assert.ok(Number.isFinite(value) && value >= -1e-6, `entropy ${value}`);
  }
  assert.ok(["stop", "length", "aborted"].includes(finish), `finish ${finish}`);
  let end = 0;
  for (const span of spans) {
    assert.equal(span.start, end, "spans follow one another");
    assert.ok(span.end > span.start || tokenIds.length === 0, "a span holds tokens");
    assert.equal(span.version, version, "the version that was asked for");
    end = span.end;
  }
  assert.equal(end, tokenIds.length, "spans cover the sequence");
}

/** The policy that is sampled from, and requests for it. */
class Fixture {
  readonly version: number;
  private request = 0;

  constructor(
    readonly policy: PublishedPolicy | null,
    readonly promptIds: readonly number[],
  ) {
    this.version = policy?.version.n ?? 0;
  }

  ask(over: Partial<SampleRequest> = {}): SampleRequest {
    this.request += 1;
    return {
      id: `suite-${this.request}`,
      prompts: [
        { promptIds: this.promptIds, seeds: [11, 12] },
        { promptIds: [...this.promptIds].reverse(), seeds: [13] },
      ],
      params: PARAMS,
      policy: { exactly: this.version },
      purpose: "training",
      deadlineMs: 60_000,
      ...over,
    };
  }
}

type Check = (sampler: Sampler, at: Fixture) => Promise<void> | void;

const CHECKS: Readonly<Record<string, Check>> = {
  "declares a kind, specification version 2 and its capabilities": ({ kind, specificationVersion, capabilities }) => {
    assert.equal(typeof kind, "string");
    assert.notEqual(kind, "");
    assert.equal(specificationVersion, 2);
    assert.ok(LOGPROB_BASES.includes(capabilities.logprobBasis), `basis ${capabilities.logprobBasis}`);
    assert.ok(["per-sequence", "per-request", "none"].includes(capabilities.seeds), `seeds ${capabilities.seeds}`);
    assert.ok(
      capabilities.adopts.every((form) => ARTIFACT_KINDS.includes(form)),
      `adopts ${capabilities.adopts}`,
    );
    assert.ok(capabilities.heldVersions >= 1, `heldVersions ${capabilities.heldVersions}`);
    for (const name of ["tokenVersions", "entropies", "abort"] as const)
      assert.equal(typeof capabilities[name], "boolean", name);
  },
  "draws one sequence per seed, with log-probs and the version of each token": async (sampler, at) => {
    const wanted = at.ask();
    const { sequences, seconds } = await sampler.sample(wanted, live());
    assert.deepEqual(
      sequences.map((group) => group.length),
      wanted.prompts.map(({ seeds }) => seeds.length),
    );
    assert.ok(seconds >= 0, `seconds ${seconds}`);
    for (const sequence of sequences.flat()) assertSequence(sequence, sampler, at.version);
  },
  "ends a sequence by its length at most": async (sampler, at) => {
    for (const maxTokens of [1, 4]) {
      const { sequences } = await sampler.sample(at.ask({ params: { ...PARAMS, maxTokens } }), live());
      for (const { tokenIds, finish } of sequences.flat()) {
        assert.ok(tokenIds.length <= maxTokens, `${tokenIds.length} tokens, at most ${maxTokens}`);
        if (finish === "length") assert.equal(tokenIds.length, maxTokens);
      }
    }
  },
  "repeats what it drew as far as its seeds say": async (sampler, at) => {
    if (sampler.capabilities.seeds === "none") return;
    const wanted = at.ask();
    const ids = (found: Awaited<ReturnType<Sampler["sample"]>>) =>
      found.sequences.map((group) => group.map(({ tokenIds }) => tokenIds));
    const first = ids(await sampler.sample(wanted, live()));
    assert.deepEqual(ids(await sampler.sample({ ...wanted, id: "suite-again" }, live())), first);
    if (sampler.capabilities.seeds === "per-request") return;
    const alone = at.ask({ prompts: [{ promptIds: at.promptIds, seeds: [12] }] });
    assert.deepEqual(ids(await sampler.sample(alone, live())), [[first[0]?.[1]]], "the same seed in other company");
  },
  "refuses a version that it does not hold": async (sampler, at) => {
    await assert.rejects(
      async () => sampler.sample(at.ask({ policy: { exactly: at.version + 999_999 } }), live()),
      (error) => WeirError.isInstance(error) && error.code === "WEIR_E_POLICY_VERSION",
    );
  },
  "rejects a request that was cancelled before it began": async (sampler, at) => {
    await assert.rejects(async () => sampler.sample(at.ask(), { signal: AbortSignal.abort() }));
  },
  "adopts a policy twice, gives up one it does not hold, and tells its versions": async (sampler, at) => {
    if (at.policy !== null) await sampler.adopt(at.policy, { ...live(), inFlight: "keep" });
    await sampler.release(at.version + 999_999, live());
    const load = await sampler.load(live());
    assert.ok(load.versions.includes(at.version), `holds ${load.versions.join(", ")}`);
    assert.ok(load.running >= 0 && load.waiting >= 0);
    const { sequences } = await sampler.sample(at.ask(), live());
    for (const sequence of sequences.flat()) assertSequence(sequence, sampler, at.version);
  },
  "does not change the request": async (sampler, at) => {
    const wanted = deepFreeze(at.ask());
    await sampler.sample(wanted, live());
  },
};

export function describeSampler(options: SamplerSuiteOptions): void {
  const { policy } = options;
  const fixture = new Fixture(policy, options.promptIds ?? [1, 2, 3]);
  const tests = Object.entries(CHECKS).map(
    ([name, check]): SuiteTest => ({
      name,
      body: async () => {
        const sampler = await options.create();
        try {
          if (policy !== null) await sampler.adopt(policy, { ...live(), inFlight: "wait" });
          await check(sampler, fixture);
        } finally {
          await sampler.dispose?.();
        }
      },
    }),
  );
  registerSuite("sampler contract", tests, options);
}
