/** What can go wrong inside a chat template. chat-template.ts words it for users; nothing here knows files. */

/**
 * - `syntax`: the text is no Jinja template.
 * - `lacking`: Jinja2 knows the construct and this engine does not compute it.
 * - `raised`: the template called `raise_exception`; the message is the template's own.
 * - `failed`: an operation that Jinja2 in Python refuses too (an attribute of an undefined value, text + number …).
 */
export type FaultKind = "syntax" | "lacking" | "raised" | "failed";

export class TemplateFault extends Error {
  constructor(
    readonly kind: FaultKind,
    message: string,
    /** Line of the template, from 1; 0 until the evaluator knows it. */
    public line = 0,
  ) {
    super(message);
    this.name = "TemplateFault";
  }
}

/** An operation that Python refuses as well. */
export const failed = (message: string): TemplateFault => new TemplateFault("failed", message);

/** A construct of Jinja2 that this engine does not compute. */
export const lacking = (construct: string, line = 0): TemplateFault => new TemplateFault("lacking", construct, line);
