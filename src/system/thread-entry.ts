/** Where the program of a worker thread lies: compiled JavaScript in dist, or TypeScript that is read through tsx. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** `stem` is the URL of the program without its extension. */
export function threadEntry(stem: URL): URL {
  const compiled = new URL(`${stem.href}.js`);
  if (existsSync(fileURLToPath(compiled))) return compiled;
  const tsx = createRequire(import.meta.url).resolve("tsx/package.json");
  const loader = pathToFileURL(join(tsx, "..", "dist", "esm", "api", "index.mjs")).href;
  const program = [
    `import { register } from ${JSON.stringify(loader)};`,
    "register();",
    `await import(${JSON.stringify(`${stem.href}.ts`)});`,
  ];
  return new URL(`data:text/javascript,${encodeURIComponent(program.join("\n"))}`);
}
