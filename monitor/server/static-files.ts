import { readdir, readFile } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The page's files. They are listed once and looked up by exact name, so no request can reach another file.
 */

export interface StaticFile {
  readonly body: Buffer;
  readonly type: string;
  /** File names with a content hash may be cached forever. */
  readonly immutable: boolean;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".woff2": "font/woff2",
  ".json": "application/json; charset=utf-8",
};

/** Folders of the built page: next to the compiled server, and in `dist` when running from source. */
export const DEFAULT_WEB_ROOTS: readonly string[] = [
  fileURLToPath(new URL("../web/", import.meta.url)),
  fileURLToPath(new URL("../../dist/monitor/web/", import.meta.url)),
];

/** Reads the built page of the first folder that holds one, by URL path; empty when there is none. */
export async function loadStaticFiles(roots: readonly string[]): Promise<ReadonlyMap<string, StaticFile>> {
  for (const root of roots) {
    const files = await readTree(root);
    const index = files.get("/index.html");
    // The sources hold an index.html too, but one that still names TypeScript.
    if (!index || index.body.includes(".tsx")) continue;
    files.set("/", index);
    return files;
  }
  return new Map();
}

async function readTree(root: string): Promise<Map<string, StaticFile>> {
  const files = new Map<string, StaticFile>();
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const type = TYPES[extname(entry.name)];
    if (!entry.isFile() || type === undefined) continue;
    const path = join(entry.parentPath, entry.name);
    const url = `/${relative(root, path).split(sep).join("/")}`;
    files.set(url, { body: await readFile(path), type, immutable: url.startsWith("/assets/") });
  }
  return files;
}
