/**
 * Where a model folder keeps its chat templates, with transformers' precedence: files (`chat_template.jinja`,
 * `additional_chat_templates/NAME.jinja`) take precedence over tokenizer_config.json. `chat_template.json`, which
 * transformers reads for processors only, is the last resort.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { isMissing, isRecord, type JsonRecord, readJsonIfPresent, readTextIfPresent } from "./json.js";

export interface TemplateSource {
  /** "default" for plain conversations. */
  readonly name: string;
  readonly text: string;
  /** File that it came from. */
  readonly path: string;
}

const ADDITIONAL = "additional_chat_templates";
const ENDING = ".jinja";

async function fromFiles(directory: string): Promise<TemplateSource[]> {
  const sources: TemplateSource[] = [];
  const add = async (name: string, path: string) => {
    const text = await readTextIfPresent(path);
    if (text !== null) sources.push({ name, text, path });
  };
  await add("default", join(directory, "chat_template.jinja"));
  const names = await readdir(join(directory, ADDITIONAL)).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const name of names.filter((entry) => entry.endsWith(ENDING)).sort())
    await add(name.slice(0, -ENDING.length), join(directory, ADDITIONAL, name));
  return sources;
}

/** A text is the default; a list holds records of `name` and `template`; an object maps names to texts. */
function fromConfig(value: unknown, path: string): TemplateSource[] {
  if (typeof value === "string") return [{ name: "default", text: value, path }];
  const named = Array.isArray(value)
    ? value.filter(isRecord).map((entry) => [entry.name, entry.template] as const)
    : isRecord(value)
      ? Object.entries(value)
      : [];
  const sources: TemplateSource[] = [];
  for (const [name, text] of named)
    if (typeof name === "string" && typeof text === "string") sources.push({ name, text, path });
  // The only template of a list is the default.
  const [only] = sources;
  return sources.length === 1 && only !== undefined ? [{ ...only, name: "default" }] : sources;
}

/** The templates of a folder; none, or several of which one is named "default". Throws WEIR_E_CHAT_TEMPLATE. */
export async function findTemplates(directory: string, tokenizerConfig: JsonRecord): Promise<TemplateSource[]> {
  const files = await fromFiles(directory);
  const configPath = join(directory, "tokenizer_config.json");
  const inline = files.length > 0 ? files : fromConfig(tokenizerConfig.chat_template, configPath);
  const hasList = Array.isArray(tokenizerConfig.chat_template) && files.length === 0;
  if (inline.length === 0 && !hasList) {
    const path = join(directory, "chat_template.json");
    const wrapped = await readJsonIfPresent(path, "WEIR_E_CHAT_TEMPLATE");
    return wrapped === null ? [] : fromConfig(wrapped.chat_template, path);
  }
  if (inline.some((source) => source.name === "default")) return inline;
  const where = files.length > 0 ? join(directory, ADDITIONAL) : configPath;
  throw new WeirError(
    "WEIR_E_CHAT_TEMPLATE",
    `${where}: the chat templates are named ${inline.map(({ name }) => JSON.stringify(name)).join(", ") || "nothing"}, ` +
      `expected one named "default". Copy the one to use to ${join(directory, "chat_template.jinja")}.`,
    { directory },
  );
}
