import type { Config } from "../config/schema.js";
import type { ArtifactKind, PublishedPolicy } from "../contracts/published-policy.js";
import type { PolicyWanted, SampledSequence, SampleReply, SampleRequest, Sampler } from "../contracts/sampler.js";
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
  private loading = false;
  private wakers: (() => void)[] = [];

  constructor(private readonly world: SamplerWorld) {}

  get running(): number {
    return this.drawings.size;
  }

  get versions(): number[] {
    return this.held === null ? [] : [this.held.n];
  }

  async sample(request: SampleRequest, signal: AbortSignal): Promise<SampleReply> {
    const { calls, continues, engine } = this.world;
    const { time } = calls.tools;
    await this.until(() => continues || !this.loading, signal);
    const drawing: Drawing = { from: [{ identity: this.holding(request.policy), since: time.now() }] };
    const started = time.now();
    const { lengths, seconds } = this.draw(request);
    this.drawings.add(drawing);
    try {
      return await calls.run("sampler.sample", { signal, seconds, engine }, () => {
        const took = time.now() - started;
        const sequences = lengths.map((group, p) =>
          group.map((length, g) => {
            const seed = request.prompts[p]?.seeds[g] ?? 0;
            return this.sequence(drawing, { length, seed }, started, took);
          }),
        );
        return { sequences, seconds: took / 1000 };
      });
    } finally {
      this.drawings.delete(drawing);
      this.wake();
    }
  }

  async adopt(policy: PublishedPolicy, { signal, inFlight }: Parameters<Sampler["adopt"]>[1]): Promise<void> {
    const { calls, config, engine, truth, continues } = this.world;
    const identity = truth.identityOf(policy.version);
    if (identity === undefined)
      throw new WeirError("WEIR_E_POLICY_VERSION", `the scripted sampler does not know ${policy.version.sha256}`, {});
    if (inFlight !== "keep" || !continues) await this.until(() => this.drawings.size === 0, signal);
    const seconds = calls.tools.draws.of("adopt", config.simulation.latencies.adopt);
    this.loading = true;
    try {
      await calls.run("sampler.adopt", { signal, seconds, engine }, () => {
        this.held = identity;
        const since = calls.tools.time.now();
        for (const { from } of this.drawings) from.push({ identity, since });
      });
    } finally {
      this.loading = false;
      this.wake();
    }
  }

  /** Lengths of the responses, tokens, and how long the call takes, s: as long as its longest response. */
  private draw({ prompts, params }: SampleRequest) {
    const { calls, config } = this.world;
    const { draws } = calls.tools;
    const { responseTokens, latencies } = config.simulation;
    const length = () => Math.max(1, Math.min(params.maxTokens, Math.round(draws.of("response", responseTokens))));
    const lengths = prompts.map(({ seeds }) => seeds.map(length));
    const perToken = draws.of("sampleToken", latencies.sampleToken);
    const seconds = draws.of("sampleCall", latencies.sampleCall) + Math.max(0, ...lengths.flat()) * perToken;
    return { lengths, seconds };
  }

  private wake(): void {
    for (const wake of this.wakers.splice(0)) wake();
  }

  private async until(test: () => boolean, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    while (!test()) {
      await new Promise<void>((resolve) => {
        const go = () => {
          signal.removeEventListener("abort", go);
          resolve();
        };
        this.wakers.push(go);
        signal.addEventListener("abort", go, { once: true });
      });
      signal.throwIfAborted();
    }
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
  private sequence(
    { from }: Drawing,
    { length, seed }: { readonly length: number; readonly seed: number },
    started: number,
    took: number,
  ): SampledSequence {
    const place = (at: number) => (took === 0 ? 0 : Math.round(((at - started) / took) * length));
    const ends = [...from.slice(1).map(({ since }) => place(since)), length];
    const drawn = from
      .map(({ identity }, i): TrueSpan => ({ identity, tokens: (ends[i] as number) - (ends[i - 1] ?? 0) }))
      .filter(({ tokens }) => tokens > 0);
    const tokenIds = this.world.truth.drawn(drawn, length, seed);
    // Every span is shown by a token at least; the last one has the rest.
    const spans = drawn.map(({ identity }, i) => {
      const { n: version, sha256 } = versionOf(identity);
      return { version, sha256, start: i, end: i === drawn.length - 1 ? tokenIds.length : i + 1 };
    });
    const logprobs = tokenIds.map(() => LOGPROB);
    return { tokenIds, logprobs, entropies: tokenIds.map(() => ENTROPY), finish: "stop", spans };
  }
}
