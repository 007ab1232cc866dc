/**
 * Finds and renders a model's chat template, with the names that transformers gives templates: messages, tools,
 * documents, add_generation_prompt, the special tokens, raise_exception, strftime_now and the tojson filter.
 */
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { WeirError } from "../../errors.js";
import { isRecord, type JsonRecord, readJsonIfPresent, readTextIfPresent } from "./json.js";

/** One turn. Further fields (`name`, `tool_calls`, `reasoning_content` …) reach the template unchanged. */
export interface ChatTurn {
  readonly role: string;
  /** Null beside `tool_calls`. */
  readonly content: string | null;
  readonly [field: string]: unknown;
}

export interface ChatTemplate {
  /** The template's source. */
  readonly source: string;
  /** Throws WEIR_E_CHAT_TEMPLATE when the template raises or cannot be rendered. */
  render(messages: readonly ChatTurn[], options: { readonly addGenerationPrompt: boolean }): string;
}

/** Template text as the folder gives it: chat_template.jinja, then chat_template.json, then tokenizer_config.json. */
async function findSource(directory: string, tokenizerConfig: JsonRecord): Promise<string | null> {
  const file = await readTextIfPresent(join(directory, "chat_template.jinja"));
  if (file !== null) return file;
  const wrapped = await readJsonIfPresent(join(directory, "chat_template.json"), "WEIR_E_CHAT_TEMPLATE");
  if (typeof wrapped?.chat_template === "string") return wrapped.chat_template;
  const inline = tokenizerConfig.chat_template;
  if (typeof inline === "string") return inline;
  if (!Array.isArray(inline)) return null;
  const named = inline.filter(isRecord);
  const chosen = named.find((entry) => entry.name === "default") ?? (named.length === 1 ? named[0] : undefined);
  if (typeof chosen?.template === "string") return chosen.template;
  throw new WeirError(
    "WEIR_E_CHAT_TEMPLATE",
    `${join(directory, "tokenizer_config.json")}: chat_template lists ${named.map((entry) => JSON.stringify(entry.name)).join(", ") || "nothing"}, ` +
      'expected one named "default". Add chat_template.jinja to the folder.',
    { directory },
  );
}

/** Special tokens under the names that templates use; a token may be a string or an object with `content`. */
function specialTokens(...configs: readonly (JsonRecord | null)[]): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const config of configs) {
    for (const [key, value] of Object.entries(config ?? {})) {
      if (!/^[a-z]+_token$/.test(key)) continue;
      const content = isRecord(value) ? value.content : value;
      if (typeof content === "string") tokens[key] = content;
    }
  }
  return tokens;
}

function compile(source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    throw new WeirError(
      "WEIR_E_CHAT_TEMPLATE",
      `The chat template cannot be parsed: ${error instanceof Error ? error.message : String(error)}. Repair chat_template.jinja.`,
      {},
      { cause: error },
    );
  }
}

/**
 * Loads the chat template of a model folder, or null when it has none. Parsing waits for the first rendering, so a
 * broken template does not hinder work that needs none.
 */
export async function loadChatTemplate(directory: string, tokenizerConfig: JsonRecord): Promise<ChatTemplate | null> {
  const source = await findSource(directory, tokenizerConfig);
  if (source === null) return null;
  const map = await readJsonIfPresent(join(directory, "special_tokens_map.json"), "WEIR_E_TOKENIZER");
  const tokens = specialTokens(map, tokenizerConfig);
  let template: Template | null = null;
  return {
    source,
    render: (messages, { addGenerationPrompt }) => {
      template ??= compile(source);
      try {
        return template.render({
          ...tokens,
          messages: messages.map((message) => ({ ...message })),
          tools: null,
          documents: null,
          add_generation_prompt: addGenerationPrompt,
        });
      } catch (error) {
        throw new WeirError(
          "WEIR_E_CHAT_TEMPLATE",
          `The chat template refused the messages (${messages.map((message) => message.role).join(", ")}): ` +
            `${error instanceof Error ? error.message : String(error)}. Give turns in the order that the template expects.`,
          { roles: messages.map((message) => message.role) },
          { cause: error },
        );
      }
    },
  };
}
