/** Prompt lengths as the policy sees them: tokens of the whole templated prompt (Eq. 9's |x| + |c|). */
import type { ChatMessage, Task } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { shown } from "./faults.js";

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

/** Token ids of a task's templated prompt. Errors: those of the template, naming the task. */
export function promptIdsOf(task: Task, tokenizer: TemplatingTokenizer): readonly number[] {
  try {
    return tokenizer.applyChatTemplate(task.messages, { addGenerationPrompt: true }).ids;
  } catch (error) {
    if (!WeirError.isInstance(error)) throw error;
    const reason = error.message.slice(error.code.length + 2);
    throw new WeirError(
      error.code,
      `task "${task.id}": ${reason}`,
      { ...error.details, task: task.id },
      { cause: error },
    );
  }
}

/** The same tasks with `promptTokens` filled in; `check` sees the ids of each. */
export function measurePromptTokens(
  tasks: readonly Task[],
  tokenizer: TemplatingTokenizer,
  check: (task: Task, ids: readonly number[]) => void = () => {},
): Task[] {
  return tasks.map((task) => {
    const ids = promptIdsOf(task, tokenizer);
    check(task, ids);
    return { ...task, promptTokens: ids.length };
  });
}

/**
 * Errors: WEIR_E_TOKENIZER naming `where`, the token and its id, where the model has no row for one: the tokenizer has
 * tokens that were added after the model was made.
 */
export function assertInVocabulary(
  ids: readonly number[],
  where: string,
  tokenizer: { tokenText(id: number): string },
  vocabSize: number,
): void {
  const beyond = ids.find((id) => id >= vocabSize);
  if (beyond === undefined) return;
  throw new WeirError(
    "WEIR_E_TOKENIZER",
    `${where}: the token ${shown(tokenizer.tokenText(beyond))} has the id ${beyond}, the model's vocabulary has the ids 0 to ${vocabSize - 1}; ` +
      "leave the token out of the text, or use a model whose embeddings were resized for this tokenizer",
    { where, id: beyond, vocabSize },
  );
}
