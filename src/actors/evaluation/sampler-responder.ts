/** A policy behind a sampler: the embedded engine, a run's own sampler, or one on servers. */
import type { Answer, Answers, Responder } from "../../contracts/responder.js";
import type { SampledSequence, Sampler, SamplingParams } from "../../contracts/sampler.js";
import { type CuttingTokenizer, fitPrompt } from "./fit-prompt.js";

export interface SamplerResponderOptions {
  readonly sampler: Sampler;
  readonly tokenizer: CuttingTokenizer;
  readonly sampling: SamplingParams;
  /** Longest templated prompt, tokens. */
  readonly maxPromptTokens: number;
  /** Version of the policy; null takes whichever the sampler holds. */
  readonly policy: number | null;
  /** Deadline of one sampler call, ms. */
  readonly deadlineMs: number;
  readonly questionsPerCall: number;
  readonly callsInFlight: number;
  readonly dispose?: () => Promise<void> | void;
}

/** Errors of `respond`: those of the sampler. A prompt that cannot be made to fit is unanswered. */
export function createSamplerResponder(options: SamplerResponderOptions): Responder {
  const { sampler, tokenizer, sampling, maxPromptTokens, policy, deadlineMs, questionsPerCall, callsInFlight } =
    options;
  const answerOf = ({ tokenIds, finish }: SampledSequence): Answer => {
    if (finish === "aborted")
      return { kind: "unanswered", code: "WEIR_E_ENGINE_ABORTED", reason: "the sampler gave the response up" };
    const last = tokenIds.at(-1);
    const text =
      finish === "stop" && last !== undefined && sampling.stopIds.includes(last) ? tokenIds.slice(0, -1) : tokenIds;
    return {
      kind: "answered",
      text: tokenizer.decode(text, { skipSpecialTokens: false }),
      tokens: tokenIds.length,
      finish,
    };
  };
  return {
    kind: sampler.kind,
    questionsPerCall,
    callsInFlight,
    measure: (messages) => tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).ids.length,
    async respond(questions, { signal }) {
      const prompts = questions.map(({ messages }) => fitPrompt(messages, tokenizer, maxPromptTokens));
      const asked = questions.flatMap(({ seeds }, i) => {
        const ids = prompts[i]?.fitted?.ids;
        return ids === undefined ? [] : [{ promptIds: ids, seeds }];
      });
      const name = `evaluation-v${policy ?? ""}-${questions[0]?.id ?? ""}+${questions.length}`;
      const reply =
        asked.length === 0
          ? { sequences: [] }
          : await sampler.sample(
              {
                id: name,
                prompts: asked,
                params: sampling,
                policy: policy === null ? null : { exactly: policy },
                purpose: "evaluation",
                deadlineMs,
              },
              { signal },
            );
      let next = 0;
      return questions.map(({ seeds }, i): Answers => {
        const { questionTokens = 0, fitted = null } = prompts[i] ?? {};
        if (fitted === null)
          return { questionTokens, promptTokens: null, answers: seeds.map(() => tooLong(maxPromptTokens)) };
        const drawn = reply.sequences[next++] ?? [];
        return { questionTokens, promptTokens: fitted.ids.length, answers: drawn.map(answerOf) };
      });
    },
    ...(options.dispose ? { dispose: options.dispose } : {}),
  };
}

/** No room is left for the longest message, whatever is cut from it. */
function tooLong(limit: number): Answer {
  return {
    kind: "unanswered",
    code: "WEIR_E_PROMPT_TOO_LONG",
    reason: `the prompt without its longest message leaves no room within ${limit} tokens`,
  };
}
