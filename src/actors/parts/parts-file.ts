/**
 * Loads replaceable parts from a file of the user's: an ES module whose default export, or export `parts`, is an object
 * { kind: { name: part or factory } }. The names are those that the configuration uses.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { PartsFile } from "../../contracts/part-origin.js";
import { WeirError } from "../../errors.js";
import { isRecord, shown, thrown } from "./part-errors.js";
import type { PartKind, Parts } from "./part-kinds.js";
import { assertKind, type PartFactory, type PartRegistry } from "./registry.js";

/** What a parts file exports: parts, or factories of parts, by kind and name. */
export type PartDefinitions = {
  readonly [K in PartKind]?: Readonly<Record<string, Parts[K] | PartFactory<K>>>;
};

export interface LoadedParts extends PartsFile {
  readonly parts: readonly {
    readonly kind: PartKind;
    readonly name: string;
    readonly factory: PartFactory<PartKind>;
  }[];
}

const FORM = '{ reward: { "my-reward": part or factory } }, with kinds and names of your own choice';
const CHECK_TIMEOUT_MS = 30_000;

/** How a module is loaded; tests give Node's own, where theirs is another. */
type Import = (url: string) => Promise<unknown>;

/**
 * Errors: WEIR_E_FILE_MISSING; WEIR_E_PARTS_FILE where the file cannot be read as a module, throws, or exports something
 * else; WEIR_E_ACTOR_UNKNOWN for a kind of part that does not exist.
 */
export async function loadParts(file: string, load: Import = (url) => import(url)): Promise<LoadedParts> {
  const path = resolve(file);
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected a module with parts at "${file}", found none that can be read`,
      { file },
      { cause },
    );
  }
  let module: Readonly<Record<string, unknown>>;
  try {
    module = (await load(pathToFileURL(path).href)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw fault(file, importFault(path, cause), cause);
  }
  const exported = module.parts ?? module.default;
  const sha256 = createHash("sha256").update(content).digest("hex");
  return { file: basename(path), sha256, parts: partsOf(file, exported) };
}

/** Registers the parts of files by their names. Errors: those of `loadParts` and of the registry. */
export async function registerParts(registry: PartRegistry, files: readonly string[]): Promise<void> {
  for (const file of files)
    for (const { kind, name, factory } of (await loadParts(file)).parts) registry.register(kind, name, factory);
}

function fault(file: string, text: string, cause?: unknown): WeirError {
  return new WeirError("WEIR_E_PARTS_FILE", `${file}: ${text}`, { file }, cause === undefined ? undefined : { cause });
}

function partsOf(file: string, exported: unknown): LoadedParts["parts"] {
  if (exported === undefined)
    throw fault(file, `expected a default export or an export "parts" of the form ${FORM}; it has neither`);
  if (!isRecord(exported)) throw fault(file, `expected an object ${FORM}, got ${shown(exported)}`);
  const parts = Object.entries(exported).flatMap(([kind, named]) => {
    if (kind === "kind" && "specificationVersion" in exported)
      throw fault(file, `it exports a part itself; give it a kind and a name: ${FORM}`);
    assertKind(kind);
    if (!isRecord(named)) throw fault(file, `${kind}: expected { name: part or factory }, got ${shown(named)}`);
    if ("specificationVersion" in named)
      throw fault(
        file,
        `${kind}: expected { name: part or factory }, got a part without a name; write ${kind}: { "NAME": part }`,
      );
    return Object.entries(named).map(([name, value]) => {
      if (typeof value !== "function" && !isRecord(value))
        throw fault(file, `${kind}."${name}": expected a part or a function that returns one, got ${shown(value)}`);
      const factory = typeof value === "function" ? (value as PartFactory<PartKind>) : () => value as never;
      return { kind, name, factory };
    });
  });
  if (parts.length === 0) throw fault(file, `expected at least one part, in the form ${FORM}; it exports none`);
  return parts;
}

/** Why a module could not be imported, with what helps. */
function importFault(path: string, cause: unknown): string {
  const code = (cause as { readonly code?: unknown } | null)?.code;
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") {
    return /^\.[cm]?ts$/.test(extname(path))
      ? `this Node (${process.version}) does not read TypeScript; use Node 22.18 or newer, or compile the file to JavaScript`
      : "expected a module that ends in .js, .mjs, or .ts";
  }
  if (code === "ERR_MODULE_NOT_FOUND" || code === "ERR_PACKAGE_PATH_NOT_EXPORTED") {
    return `a module that it imports was not found: ${(cause as Error).message}; install it where the file lies, and weir-rl too if it imports more than types from it`;
  }
  if (cause instanceof SyntaxError) return `it is no module that this Node reads: ${cause.message}${whereOf(path)}`;
  return `it threw while it was loaded: ${thrown(cause)}`;
}

/** Line and text of a syntax error, which an import does not tell; empty where Node does not tell it either. */
function whereOf(path: string): string {
  const { stderr } = spawnSync(process.execPath, ["--check", path], { encoding: "utf8", timeout: CHECK_TIMEOUT_MS });
  const lines = (stderr ?? "").split("\n");
  const at = lines.findIndex((line) => line.includes(basename(path)) && /:\d+$/.test(line));
  if (at < 0) return "";
  const line = /:(\d+)$/.exec(lines[at] ?? "")?.[1];
  return ` (line ${line}: ${(lines[at + 1] ?? "").trim()})`;
}
