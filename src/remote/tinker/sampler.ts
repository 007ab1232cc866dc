/**
 * A sampler whose policies are weights that a trainer of the same server has saved. Invariants: only the policy that was adopted last is
 * drawn from, and only while the trainer's weights are those (ServerLink); a call that was given up counts as under way until the
 * server has done it, since it cannot be stopped there.
 */
import { z } from "zod";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type {
  SampledSequence,
  SamplePrompt,
  SampleReply,
  SampleRequest,
  Sampler,
  SamplerCapabilities,
  SamplerLoad,
} from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { parseAddress } from "./checkpoint-address.js";
import { parsed, TinkerClient, type TinkerOptions } from "./client.js";
import { decodeSamples } from "./messages.js";
import type { ServerLink } from "./server-link.js";

export interface TinkerSamplerOptions extends TinkerOptions {
  /** Shared with the trainer of the same server. */
  readonly link: ServerLink;
}

/** The protocol's log-probs are those of temperature 1 over the whole vocabulary, whatever is drawn from. */
export const TINKER_SAMPLER: SamplerCapabilities = {
  logprobBasis: "raw",
  seeds: "per-request",
  tokenVersions: false,
  adopts: ["handle"],
  heldVersions: 1,
  entropies: false,
  abort: false,
};

interface Held {
  readonly version: PolicyVersion;
  readonly address: string;
  /** What the server calls the policy in sampling calls. */
  readonly session: string;
}

/** Servers take seeds as signed 32-bit numbers. */
const SEED_MASK = 0x7fffffff;
const SESSION = z.object({ sampling_session_id: z.string() });

export function createTinkerSampler(options: TinkerSamplerOptions): Sampler {
  return new TinkerSampler(options);
}

class TinkerSampler implements Sampler {
  readonly kind = "tinker";
  readonly specificationVersion = 2;
  readonly capabilities = TINKER_SAMPLER;
  private readonly client: TinkerClient;
  private held: Held | null = null;
  private calls = 0;
  private sessions = 0;
  private readonly closing = new AbortController();
  private readonly drawing = new Set<{ readonly work: Promise<unknown>; readonly stop: AbortController }>();

  constructor(private readonly options: TinkerSamplerOptions) {
    this.client = new TinkerClient(options);
  }

  async connect({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (await this.client.open(signal)) this.held = null;
  }

  async sample(request: SampleRequest, { signal }: { readonly signal: AbortSignal }): Promise<SampleReply> {
    signal.throwIfAborted();
    const held = this.wanted(request);
    const started = this.options.time.now();
    const stop = new AbortController();
    // The server goes on with what nobody waits for any more, so the work is followed to its end.
    const work = Promise.all(request.prompts.map((prompt) => this.draw(held, prompt, request)));
    const entry = { work, stop };
    this.options.link.draws(work);
    this.drawing.add(entry);
    void work.catch(() => undefined).then(() => this.drawing.delete(entry));
    const sequences = await within(work, request, AbortSignal.any([signal, stop.signal]), this.options.time);
    // A step that was taken meanwhile would have changed what was drawn from.
    if (!this.options.link.mayDraw(held.address)) throw this.moved(held);
    return { sequences, seconds: (this.options.time.now() - started) / 1000 };
  }

  async adopt(
    { version, artifact }: PublishedPolicy,
    { signal, inFlight }: { readonly signal: AbortSignal; readonly inFlight: "keep" | "wait" | "abort" },
  ): Promise<void> {
    if (artifact.kind !== "handle")
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${version.n} is a ${artifact.kind}, a Tinker-compatible server samples from what it has saved itself; publish a handle`,
        { version: version.n, artifact: artifact.kind },
      );
    const { held } = this;
    if (held?.version.n === version.n && held.version.sha256 === version.sha256 && held.address === artifact.uri)
      return;
    const { model } = parseAddress(artifact.uri);
    if (held !== null && parseAddress(held.address).model === model && version.n < held.version.n)
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${version.n} is older than version ${held.version.n} of the same model; sampling it would put the trainer's weights back`,
        { version: version.n },
      );
    if (inFlight === "abort")
      for (const { stop } of this.drawing)
        stop.abort(
          new WeirError("WEIR_E_ENGINE_ABORTED", `policy version ${version.n} takes the place of the one drawn from`),
        );
    if (inFlight !== "keep") await Promise.allSettled([...this.drawing].map(({ work }) => work));
    const session = await this.samplingSession(artifact.uri, signal);
    this.held = { version, address: artifact.uri, session };
  }

  async release(version: number): Promise<void> {
    if (this.held?.version.n === version) this.held = null;
  }

  async load(): Promise<SamplerLoad> {
    const running = this.drawing.size;
    return { running, waiting: 0, cacheUse: null, versions: this.held === null ? [] : [this.held.version.n] };
  }

  dispose(): void {
    this.closing.abort();
    this.client.close();
  }

  private async samplingSession(address: string, signal: AbortSignal): Promise<string> {
    this.sessions += 1;
    const body = {
      session_id: this.client.sessionId,
      sampling_session_seq_id: this.sessions,
      model_path: address,
      type: "create_sampling_session",
    };
    const answer = await this.client.post("create_sampling_session", { json: body }, signal);
    return parsed(SESSION, answer.json(), "create_sampling_session").sampling_session_id;
  }

  /** Errors: WEIR_E_POLICY_VERSION where the policy that is held is another one, or has been trained on. */
  private wanted({ policy }: SampleRequest): Held {
    const { held } = this;
    const n = held?.version.n ?? null;
    const fits =
      held !== null &&
      (policy === null || ("exactly" in policy ? held.version.n === policy.exactly : held.version.n >= policy.atLeast));
    if (held === null || !fits) {
      const asked =
        policy === null
          ? "a policy"
          : `policy version ${"exactly" in policy ? policy.exactly : `${policy.atLeast} or newer`}`;
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `${asked} was asked for, the sampler holds ${n === null ? "none" : `version ${n}`}`,
        { wanted: policy, version: n },
      );
    }
    if (!this.options.link.mayDraw(held.address)) throw this.moved(held);
    return held;
  }

  private moved({ version: { n } }: Held): WeirError {
    return new WeirError(
      "WEIR_E_POLICY_VERSION",
      `policy version ${n} was trained on, and the server keeps no older weights to sample from; publish, and adopt the new version`,
      { version: n },
    );
  }

  private async draw(held: Held, prompt: SamplePrompt, { params }: SampleRequest): Promise<SampledSequence[]> {
    if (prompt.seeds.length === 0) return [];
    this.calls += 1;
    const body = {
      sampling_session_id: held.session,
      seq_id: this.calls,
      num_samples: prompt.seeds.length,
      prompt: { chunks: [{ type: "encoded_text", tokens: prompt.promptIds }] },
      sampling_params: {
        max_tokens: params.maxTokens,
        temperature: params.temperature,
        top_p: params.topP,
        top_k: params.topK === 0 ? -1 : params.topK,
        seed: (prompt.seeds[0] as number) & SEED_MASK,
        ...(params.stopIds.length > 0 && { stop: params.stopIds }),
      },
      prompt_logprobs: false,
      type: "sample",
    };
    const { sequences } = decodeSamples(await this.client.run("asample", { json: body }, this.closing.signal));
    if (sequences.length !== prompt.seeds.length)
      throw new WeirError(
        "WEIR_E_REMOTE",
        `the server gave ${sequences.length} sequences, ${prompt.seeds.length} were asked for`,
      );
    return sequences.map(({ tokens, logprobs, stopped }) => ({
      tokenIds: tokens,
      logprobs,
      entropies: null,
      finish: stopped ? "stop" : "length",
      spans: tokens.length === 0 ? [] : [{ ...spanOf(held), start: 0, end: tokens.length }],
    }));
  }
}

function spanOf({ version: { n, sha256 } }: Held) {
  return { version: n, sha256 };
}

/** Waits until the deadline of a request or the end of its signal; the work itself goes on. Errors: WEIR_E_ENGINE_TIMEOUT. */
function within<T>(
  work: Promise<T>,
  { id, deadlineMs }: SampleRequest,
  signal: AbortSignal,
  time: TinkerOptions["time"],
): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () =>
      reject(
        new WeirError("WEIR_E_ENGINE_TIMEOUT", `sampling ${id} took longer than its deadline of ${deadlineMs} ms`, {
          id,
          limitMs: deadlineMs,
        }),
      );
    const timer = time.set(late, deadlineMs);
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    void work.then(resolve, reject).finally(() => {
      time.clear(timer);
      signal.removeEventListener("abort", onAbort);
    });
  });
}
