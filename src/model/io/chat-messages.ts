/** Messages as transformers passes them to a template: without null fields, and with reasoning under both of its names. */

/** One message. Further fields (`name`, `tool_calls`, `reasoning_content` …) reach the template unchanged. */
export interface ChatTurn {
  readonly role: string;
  /** Text, parts of several kinds, or null next to tool calls, in the form that the template expects. */
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/** Names of the reasoning field; most templates read the first, some the second. */
const REASONING = ["reasoning_content", "thinking", "reasoning"] as const;

/** The fields of one message that a template sees, in order. */
function fieldsOf(message: ChatTurn): Readonly<Record<string, unknown>> {
  const given = Object.fromEntries(
    Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
  );
  const reasoning = REASONING.map((name) => given[name]).find((value) => value !== undefined);
  return reasoning === undefined ? given : { thinking: reasoning, ...given, reasoning_content: reasoning };
}

/** As `apply_chat_template` of transformers 5 prepares messages before it renders. */
export function normalizeMessages(messages: readonly ChatTurn[]): Readonly<Record<string, unknown>>[] {
  return messages.map(fieldsOf);
}
