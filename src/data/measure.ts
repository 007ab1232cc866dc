/** Prompt lengths as the policy sees them: tokens of the whole templated prompt (Eq. 9's |x| + |c|). */
import type { ChatMessage, Task } from "../contracts/task.js";

/** What measuring needs of a tokenizer. */
export interface TemplatingTokenizer {
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly ids: readonly number[] };
}

/** Templated prompt length of some messages, in tokens. */
export function countPromptTokens(messages: readonly ChatMessage[], tokenizer: TemplatingTokenizer): number {
  return tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).ids.length;
}

/** The same tasks with `promptTokens` filled in. */
export function measurePromptTokens(tasks: readonly Task[], tokenizer: TemplatingTokenizer): Task[] {
  return tasks.map((task) => ({ ...task, promptTokens: countPromptTokens(task.messages, tokenizer) }));
}
