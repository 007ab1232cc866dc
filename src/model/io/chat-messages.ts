/** Messages as transformers hands them to a template: fields that are null are left out, reasoning has both of its names. */

/** One message. Further fields (`name`, `tool_calls`, `reasoning_content` …) reach the template whole. */
export interface ChatTurn {
  readonly role: string;
  /** Text, parts of several kinds, or null beside tool calls, as the template takes it. */
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/** Names that reasoning goes by; the first is what most templates read, the second what some read. */
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
