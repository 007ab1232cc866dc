/** One server of a group: what it said of itself, what it holds, what it has in work, and how a request is drawn from it. */
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { LogprobBasis, SampledSequence, SampleReply, SampleRequest } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import type { Drawn, GenerationServer, ServerFacts } from "./generation-server.js";
import { probeBasis } from "./logprob-probe.js";
import type { DrawFrom, ServerWeights } from "./server-weights.js";

export interface MemberOptions {
  /** What the server's log-probs are of; null finds out. */
  readonly logprobs: LogprobBasis | null;
  now(): number;
}

/** `name` begins the ids of the requests that a call makes. */
interface DrawCall {
  readonly name: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

export class ServerMember {
  state: "new" | "ready" | "away" = "new";
  /** Requests in work. */
  busy = 0;
  /** Losses since the last finished request. */
  failures = 0;
  /** Why it is away. */
  cause: unknown = null;
  facts: ServerFacts | null = null;
  basis: LogprobBasis | null = null;

  constructor(
    readonly server: GenerationServer,
    readonly weights: ServerWeights,
    private readonly options: MemberOptions,
  ) {}

  /**
   * Asks the server what it is and gives it the newest policy. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE; WEIR_E_CAPABILITY for a
   * server that was started without what is needed; WEIR_E_CONFIG for a model that it does not serve.
   */
  async connect(known: readonly PublishedPolicy[], signal: AbortSignal): Promise<void> {
    const { server, weights } = this;
    const facts = await server.inspect({ signal });
    if (facts.problems.length > 0)
      throw new WeirError("WEIR_E_CAPABILITY", `${server.url} cannot be used: ${facts.problems.join("; ")}`, {
        url: server.url,
      });
    if (facts.paused !== false) await server.resume({ signal });
    await weights.connected(facts, known, { signal });
    this.basis = this.options.logprobs ?? (await probeBasis(server, { signal }));
    this.facts = facts;
  }

  /** Errors: those of the server; WEIR_E_PROMPT_TOO_LONG; `PolicyChanged`. */
  async sample(request: SampleRequest, policy: PublishedPolicy | null, call: DrawCall): Promise<SampleReply> {
    this.assertFits(request);
    const started = this.options.now();
    let round = 0;
    const draw = (from: DrawFrom) => {
      round += 1;
      return this.prompts(request, from, { ...call, name: `${call.name}.${round}` });
    };
    const groups = await this.weights.draw(policy, draw, { signal: call.signal });
    const sequences = groups.map((group) => group.map((drawn) => this.sequence(drawn, policy, request)));
    return { sequences, seconds: (this.options.now() - started) / 1000 };
  }

  /** Every prompt at the same time; the failure of one ends the others. */
  private async prompts(
    request: SampleRequest,
    from: DrawFrom,
    call: DrawCall,
  ): Promise<readonly (readonly Drawn[])[]> {
    const own = new AbortController();
    const signal = AbortSignal.any([call.signal, own.signal]);
    const all = request.prompts.map((_, p) => this.prompt(request, p, from, { ...call, signal }));
    try {
      return await Promise.all(all);
    } catch (error) {
      own.abort(error);
      await Promise.allSettled(all);
      throw error;
    }
  }

  /** The sequences of one prompt. Greedy ones are all the same: one is drawn. */
  private async prompt(
    { prompts, params }: SampleRequest,
    p: number,
    from: DrawFrom,
    call: DrawCall,
  ): Promise<readonly Drawn[]> {
    const { promptIds, seeds } = prompts[p] as SampleRequest["prompts"][number];
    const wanted = params.temperature === 0 ? seeds.slice(0, 1) : seeds;
    const draw = { id: `${call.name}-${p}`, ...from, promptIds, seeds: wanted, params, deadlineMs: call.deadlineMs };
    const drawn = await this.server.draw(draw, { signal: call.signal });
    if (drawn.length !== wanted.length)
      throw new WeirError(
        "WEIR_E_REMOTE",
        `${this.server.url} gave ${drawn.length} sequences, ${wanted.length} were asked for`,
        { url: this.server.url },
      );
    return seeds.map((_, g) => drawn[params.temperature === 0 ? 0 : g] as Drawn);
  }

  private sequence(drawn: Drawn, policy: PublishedPolicy | null, { params }: SampleRequest): SampledSequence {
    const { tokenIds, logprobs, finish } = drawn;
    const last = tokenIds.at(-1);
    if (finish === "stop" && (last === undefined || !params.stopIds.includes(last)))
      throw new WeirError(
        "WEIR_E_REMOTE",
        `${this.server.url} ended a sequence at token ${last}, which is none of the stop ids (${params.stopIds.join(", ") || "none"}); start it without stop rules of its own`,
        { url: this.server.url },
      );
    return { tokenIds, logprobs, entropies: null, finish, spans: this.weights.spans(policy, drawn) };
  }

  private assertFits({ prompts, params }: SampleRequest): void {
    const limit = this.facts?.maxTokens ?? null;
    const longest = Math.max(0, ...prompts.map(({ promptIds }) => promptIds.length));
    if (limit === null || longest + params.maxTokens <= limit) return;
    throw new WeirError(
      "WEIR_E_PROMPT_TOO_LONG",
      `a prompt of ${longest} tokens and a response of up to ${params.maxTokens} do not fit ${this.server.url}, which takes ${limit} tokens in all; start it with --max-model-len (SGLang: --context-length) ${longest + params.maxTokens}, or lower rollout.maxTokens`,
      { url: this.server.url, limit },
    );
  }
}
