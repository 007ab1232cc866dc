/**
 * Chat templates as transformers renders them: Jinja2 3.1 in its sandbox, with trim_blocks, lstrip_blocks, loop controls,
 * `{% generation %}`, `tojson`, `raise_exception` and `strftime_now`. What this engine does not compute it refuses by
 * name; it never prints something else instead. Compared with Jinja2 in tests/fixtures/templates.
 */
import { render } from "./evaluate.js";
import { globalFunctions } from "./globals.js";
import { hiddenNames } from "./scopes.js";
import { parseTemplate } from "./statements.js";
import { toValue, type Value } from "./values.js";

export { TemplateFault } from "./fault.js";

export interface CompiledTemplate {
  /** Renders with variables of plain JSON kinds. Throws TemplateFault. */
  render(variables: Readonly<Record<string, unknown>>): string;
}

/** Parses a template. Throws TemplateFault. `now` is what `strftime_now` calls the present, in local time. */
export function compileTemplate(source: string, now: () => Date = () => new Date()): CompiledTemplate {
  const template = parseTemplate(source);
  const hidden = hiddenNames(template);
  const globals = globalFunctions(now);
  return {
    render: (variables) => {
      const values = new Map<string, Value>();
      for (const [name, value] of Object.entries(variables)) values.set(name, toValue(value, name));
      return render(template, hidden, values, globals);
    },
  };
}
