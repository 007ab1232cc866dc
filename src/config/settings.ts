/**
 * Overrides of the form `a.b.c=value`. The value is read as YAML, and the schema decides what a scalar means: for a text
 * option it is text, whatever it looks like. Pure.
 */
import { parse as parseYaml } from "yaml";
import { WeirError } from "../errors.js";
import { type OptionSchema, optionAt, unwrap } from "./schema-walk.js";

type Tree = Record<string, unknown>;

const QUOTED = /^\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*$/s;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = ({ definition }: OptionSchema): boolean => definition.type === "string" || definition.type === "enum";

/** Applies `a.b.c=value` to a tree, in place; indices address array items. Errors: WEIR_E_USAGE. */
export function applySetting(tree: Tree, setting: string): void {
  const cut = setting.indexOf("=");
  if (cut <= 0) throw new WeirError("WEIR_E_USAGE", `--set expects PATH=VALUE, got "${setting}"`, { setting });
  const path = setting.slice(0, cut).trim().split(".");
  const value = readValue(setting, setting.slice(cut + 1), optionAt(path));
  let node: Tree | unknown[] = tree;
  path.forEach((part, i) => {
    if (Array.isArray(node) && !(/^\d+$/.test(part) && Number(part) <= node.length)) {
      throw new WeirError(
        "WEIR_E_USAGE",
        `--set ${setting}: "${path.slice(0, i).join(".")}" is a list of ${node.length}; expected an index from 0 to ${node.length}, got "${part}"`,
        { setting },
      );
    }
    const child = Object.hasOwn(node, part) ? (node as Tree)[part] : undefined;
    const next = i === path.length - 1 ? value : typeof child === "object" && child !== null ? child : {};
    // Defined, not assigned: a path such as __proto__.x must not reach beyond the tree.
    Object.defineProperty(node, part, { value: next, writable: true, enumerable: true, configurable: true });
    node = next as Tree;
  });
}

/** A copy of a configuration with `--set` overrides applied. */
export function applySettings(tree: Readonly<Tree>, settings: readonly string[]): Tree {
  const copy = structuredClone(tree) as Tree;
  for (const setting of settings) applySetting(copy, setting);
  return copy;
}

/** The value of a setting for an option; without one, as YAML reads it. */
function readValue(setting: string, raw: string, option: OptionSchema | null): unknown {
  // Text is taken literally: a path with ": " or " #" in it is neither a mapping nor a comment.
  if (option !== null && isText(option) && !QUOTED.test(raw))
    return option.nullable && raw.trim() === "null" ? null : raw.trim();
  let plain: unknown;
  let text: unknown;
  try {
    plain = parseYaml(raw);
    // In the failsafe schema every scalar is text.
    text = parseYaml(raw, { schema: "failsafe" });
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_USAGE",
      `--set ${setting}: expected a YAML value behind "=", got ${JSON.stringify(raw)} (${(cause as Error).message.split("\n")[0]}); put the value in quotes`,
      { setting },
      { cause },
    );
  }
  return fitted(plain, text, option);
}

/** Chooses between what YAML reads and the bare text of it, option by option. */
function fitted(plain: unknown, text: unknown, option: OptionSchema | null): unknown {
  if (option === null) return plain;
  const { definition, nullable } = option;
  if (isText(option)) {
    if (plain === null && nullable) return null;
    return typeof text === "string" ? text : plain;
  }
  if (definition.type === "array" && plain !== null) {
    const element = unwrap(definition.element);
    if (Array.isArray(plain) && Array.isArray(text)) return plain.map((item, i) => fitted(item, text[i], element));
    // One file is a list of one.
    if (element !== null && isText(element) && typeof text === "string") return [text];
    return plain;
  }
  if (isTree(plain) && isTree(text)) {
    const shape = definition.shape ?? {};
    return Object.fromEntries(
      Object.entries(plain).map(([key, value]) => [
        key,
        fitted(value, text[key], Object.hasOwn(shape, key) ? unwrap(shape[key]) : null),
      ]),
    );
  }
  return plain;
}
