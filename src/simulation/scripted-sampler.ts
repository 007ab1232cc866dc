import type { Config } from "../config/schema.js";
import type { ArtifactKind, PublishedPolicy } from "../contracts/published-policy.js";
import type { PolicyWanted, SampledSequence, SampleRequest, Sampler } from "../contracts/sampler.js";
import { WeirError } from "../errors.js";
import type { ScriptedCalls } from "./calls.js";
import { type GroundTruth, type Identity, type TrueSpan, versionOf } from "./ground-truth.js";
import type { ScriptedEngine } from "./scripted-engine.js";

/** One sampler engine without a model: takes its time and writes down which weights drew what. */

const LOGPROB = -1;
const ENTROPY = 0.5;

export interface SamplerWorld {
  readonly config: Config;
  readonly calls: ScriptedCalls;
  readonly truth: GroundTruth;
  readonly engine: ScriptedEngine;
  readonly adopts: ArtifactKind;
  /** Sequences in work go on under a policy that is adopted meanwhile. */
  readonly continues: boolean;
}

/** A call in work: which weights it has drawn from, and since when. */
interface Drawing {
  readonly from: { readonly identity: Identity; readonly since: number }[];
}

export function createScriptedSampler(world: SamplerWorld): Sampler {
  const member = new ScriptedSampler(world);
  return {
    kind: "engine",
    specificationVersion: 2,
    capabilities: {
      logprobBasis: "scaled",
      seeds: "per-sequence",
      tokenVersions: world.continues,
      adopts: [world.adopts],
      heldVersions: 1,
      entropies: true,
      abort: true,
    },
    sample: (request, { signal }) => member.sample(request, signal),
    adopt: (policy, options) => member.adopt(policy, options),
    release: async () => undefined,
    load: async () => ({ running: member.running, waiting: 0, cacheUse: null, versions: member.versions }),
  };
}

class ScriptedSampler {
  private held: Identity | null = null;
  private readonly drawings = new Set<Drawing>();
  private onQuiet: (() => void)[] = [];
  private stops = new AbortController();

  constructor(private readonly world: SamplerWorld) {}

  get running(): number {
    return this.drawings.size;
  }

  get versions(): number[] {
    return this.held === null ? [] : [this.held.n];
  }

  async sample(request: SampleRequest, signal: AbortSignal) {
    const { calls, config } = this.world;
    const { time, draws } = calls.tools;
    const held = this.holding(request.policy);
    const lengths = request.prompts.map(({ seeds }) =>
      seeds.map(() => responseLength(draws.of("response", config.simulation.responseTokens), request.params.maxTokens)),
    );
    const { sampleCall, sampleToken } = config.simulation.latencies;
    const seconds =
      draws.of("sampleCall", sampleCall) + Math.max(0, ...lengths.flat()) * draws.of("sampleToken", sampleToken);
    const started = time.now();
    const drawing: Drawing = { from: [{ identity: held, since: started }] };
    this.drawings.add(drawing);
    const both = AbortSignal.any([signal, this.stops.signal]);
    try {
      const { engine } = this.world;
      return await calls.run("sampler.sample", { signal: both, seconds, engine }, () => {
        const took = time.now() - started;
        const sequences = lengths.map((group) => group.map((length) => this.sequence(drawing, length, started, took)));
        return { sequences, seconds: took / 1000 };
      });
    } finally {
      this.drawings.delete(drawing);
      if (this.drawings.size === 0) for (const wake of this.onQuiet.splice(0)) wake();
    }
  }

  async adopt(policy: PublishedPolicy, { signal, inFlight }: Parameters<Sampler["adopt"]>[1]): Promise<void> {
    const { calls, config, engine, truth } = this.world;
    const identity = truth.identityOf(policy.version);
    if (identity === undefined)
      throw new WeirError("WEIR_E_POLICY_VERSION", `the scripted sampler does not know ${policy.version.sha256}`, {});
    if (inFlight === "abort") {
      this.stops.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "another policy is adopted", {}));
      this.stops = new AbortController();
    }
    if (inFlight === "wait" || !this.world.continues) await this.quiet(signal);
    const seconds = calls.tools.draws.of("adopt", config.simulation.latencies.adopt);
    await calls.run("sampler.adopt", { signal, seconds, engine }, () => {
      this.held = identity;
      const since = calls.tools.time.now();
      for (const { from } of this.drawings) from.push({ identity, since });
    });
  }

  /** Resolves once no sequence is in work. */
  private quiet(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.drawings.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      this.onQuiet.push(() => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
    });
  }

  private holding(wanted: PolicyWanted | null): Identity {
    const { held } = this;
    const fits =
      held !== null &&
      (wanted === null || ("exactly" in wanted ? held.n === wanted.exactly : held.n >= wanted.atLeast));
    if (held !== null && fits) return held;
    throw new WeirError("WEIR_E_POLICY_VERSION", `the scripted sampler holds version ${held?.n ?? "none"}`, { wanted });
  }

  /** Spreads the tokens of a response over the weights that were held while it was drawn. */
  private sequence({ from }: Drawing, length: number, started: number, took: number): SampledSequence {
    const placeOf = (at: number, tokens: number) => (took === 0 ? 0 : Math.round(((at - started) / took) * tokens));
    const places = (tokens: number) => [...from.map(({ since }) => placeOf(since, tokens)), tokens];
    const whole = places(length);
    const truth: TrueSpan[] = from.map(({ identity }, i) => ({
      identity,
      tokens: (whole[i + 1] as number) - (whole[i] as number),
    }));
    const tokenIds = this.world.truth.drawn(truth, length);
    const shown = places(tokenIds.length);
    const spans = from.flatMap(({ identity }, i) => {
      const { n: version, sha256 } = versionOf(identity);
      const [start, end] = [shown[i] as number, shown[i + 1] as number];
      return end > start ? [{ version, sha256, start, end }] : [];
    });
    const logprobs = tokenIds.map(() => LOGPROB);
    return { tokenIds, logprobs, entropies: tokenIds.map(() => ENTROPY), finish: "stop", spans };
  }
}

const responseLength = (drawn: number, most: number): number => Math.max(1, Math.min(most, Math.round(drawn)));
