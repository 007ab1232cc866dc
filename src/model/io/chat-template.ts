/**
 * A model folder's chat template: which of its templates renders a conversation, the variables it sees, and its error
 * messages. template/ renders it (Jinja2 as transformers configures it).
 */
import { WeirError } from "../../errors.js";
import { type ChatTurn, normalizeMessages } from "./chat-messages.js";
import { findTemplates, type TemplateSource } from "./chat-template-files.js";
import type { JsonRecord } from "./json.js";
import { specialTokens } from "./special-tokens.js";
import { type CompiledTemplate, compileTemplate, TemplateFault } from "./template/template.js";

export type { ChatTurn } from "./chat-messages.js";

export interface ChatTemplateOptions {
  /** Ends with the beginning of an assistant's turn. */
  readonly addGenerationPrompt?: boolean;
  /** JSON schemas of functions; a template named `tool_use` is taken where there is one. */
  readonly tools?: readonly Readonly<Record<string, unknown>>[];
  readonly documents?: readonly Readonly<Record<string, unknown>>[];
  /** Further variables (`enable_thinking`, `date_string` …); they replace special tokens of the same name. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

export interface ChatTemplate {
  /** The source of the template that conversations without tools take. */
  readonly source: string;
  /** Throws WEIR_E_CHAT_TEMPLATE when the template raises, is broken or cannot be rendered. */
  render(messages: readonly ChatTurn[], options: ChatTemplateOptions): string;
}

/** The fault, its place and the remedy. */
function explain(fault: TemplateFault, path: string, roles: readonly string[]): string {
  const place = `${path}, line ${fault.line}`;
  const messages = `messages (${roles.join(", ")})`;
  switch (fault.kind) {
    case "raised":
      return `The chat template refuses the ${messages}: ${fault.message} (${place}). These are the template's own words; change the conversation accordingly.`;
    case "lacking":
      return (
        `The chat template needs something that weir's template engine does not compute: ${fault.message} (${place}). ` +
        "Write that part in another way in a chat_template.jinja; docs/models.md says what is computed."
      );
    case "syntax":
      return `The chat template is broken: ${fault.message} (${place}). Jinja2 refuses it too: fetch the file again, or repair that line.`;
    case "failed":
      return (
        `The chat template cannot be rendered with the ${messages}: ${fault.message} (${place}). ` +
        "Jinja2 fails there too: give the messages the fields that this line reads, or repair the template."
      );
  }
}

function chooseSource(sources: readonly TemplateSource[], withTools: boolean): TemplateSource | undefined {
  const named = (name: string) => sources.find((source) => source.name === name);
  return (withTools ? named("tool_use") : undefined) ?? named("default");
}

/**
 * Loads the chat template of a model folder, or null when it has none. It is parsed at the first rendering, so
 * that a broken template does not stop work without one.
 */
export async function loadChatTemplate(directory: string, tokenizerConfig: JsonRecord): Promise<ChatTemplate | null> {
  const sources = await findTemplates(directory, tokenizerConfig);
  const plain = chooseSource(sources, false);
  if (plain === undefined) return null;
  const tokens = await specialTokens(directory, tokenizerConfig);
  const compiled = new Map<TemplateSource, CompiledTemplate>();
  return {
    source: plain.text,
    render: (messages, options) => {
      const source = chooseSource(sources, options.tools !== undefined) ?? plain;
      try {
        const template = compiled.get(source) ?? compileTemplate(source.text);
        compiled.set(source, template);
        return template.render({
          ...tokens,
          ...options.variables,
          messages: normalizeMessages(messages),
          tools: options.tools ?? null,
          documents: options.documents ?? null,
          add_generation_prompt: options.addGenerationPrompt ?? false,
        });
      } catch (error) {
        if (!(error instanceof TemplateFault)) throw error;
        const roles = messages.map((message) => message.role);
        throw new WeirError(
          "WEIR_E_CHAT_TEMPLATE",
          explain(error, source.path, roles),
          { kind: error.kind, line: error.line, path: source.path, roles },
          { cause: error },
        );
      }
    },
  };
}
