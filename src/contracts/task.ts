/**
 * One message of a chat, as chat templates and the OpenAI protocol know it. Further fields (`tool_calls`, `tool_call_id`,
 * `name`, `reasoning_content` …) reach the chat template unchanged.
 */
export type ChatMessage = {
  readonly role: "system" | "user" | "assistant" | "tool";
  /** Null only in a message with `tool_calls`. */
  readonly content: string | null;
  readonly [field: string]: Json;
};

/** JSON value; what a Task may carry in `meta` and what the journal can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * A question over a document, with its gold answers: what the policy is trained on.
 */
export interface Task {
  /** Stable and unique within a data set; keys randomness and the ledger. */
  readonly id: string;
  /** What the chat template is applied to. */
  readonly messages: readonly ChatMessage[];
  /** The document alone, when it can be told apart from the prompt. */
  readonly document: string | null;
  /**
   * The accepted answers, at least one: ground-truth *sentences* of verl-style data ("Therefore, the answer is Paris."),
   * not bare answers. A response scores the best over all of them, as LongBench's own scorer does.
   */
  readonly goldAnswers: readonly string[];
  /** verl's `data_source`; the reward family is chosen by substring of it. */
  readonly source: string;
  /** Length of the templated prompt in tokens of the policy's tokenizer (Eq. 9's |x|+|c|). */
  readonly promptTokens: number;
  /** Extra columns of the source row (index, hops, family …). */
  readonly meta: Readonly<Record<string, Json>>;
}
