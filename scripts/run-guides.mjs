/**
 * Runs the guides in a project that has weir installed: compiles every example strictly, runs the conformance suites under
 * vitest too, bundles what is for browsers, and runs each guide's commands in order, in a copy of examples/guides.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { bashScript, commandsOf, guideFiles, missingLine } from "./guides.mjs";

/** The longest commands take seconds; a hang still ends. */
const COMMAND_MS = 90_000;

/**
 * `example(name, command, arguments, expected, options)` runs one program and throws where it fails; `model` is the folder that the guides call `model`.
 */
export async function runGuides({ root, project, model, example }) {
  const folder = join(project, "guides");
  cpSync(join(root, "examples", "guides"), folder, { recursive: true });
  cpSync(model, join(folder, "model"), { recursive: true });
  const here = { cwd: folder };
  await example("guides: strict compilation", "npx", ["--no", "--", "tsc", "-p", "."], /^$/, here);
  await underVitest(folder, example);
  const bundle = ["--no", "--", "vite", "build", "--logLevel", "warn"];
  const page = pageFolder(folder);
  await example("guides: bundle for browsers", "npx", bundle, /^/, { cwd: page });
  const path = [join(project, "node_modules", ".bin"), process.env.PATH].join(delimiter);
  const options = { ...here, env: { ...process.env, PATH: path }, timeoutMs: COMMAND_MS, group: true };
  await example("guides: the page", "bash", ["-c", liveProgram(root)], /step \d+: reward|left out/, options);
  for (const guide of guideFiles(root)) {
    const commands = commandsOf(readFileSync(join(root, guide), "utf8"));
    for (const [index, { script, lines }] of commands.entries()) {
      const name = `${guide}, commands ${index + 1} of ${commands.length}`;
      const output = await example(name, "bash", ["-c", bashScript(script)], /^/, options);
      const missing = missingLine(output, lines);
      if (missing !== null) throw new Error(`${name}: the output lacks the line\n${missing}\nit is\n${output}`);
    }
  }
}

/** The same suites as under node:test, with the import that the guides name for vitest. */
async function underVitest(folder, example) {
  const copy = join(folder, "vitest");
  mkdirSync(copy);
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts"));
  for (const file of files) {
    const text = readFileSync(join(folder, file), "utf8");
    writeFileSync(join(copy, file), text.replace('from "node:test"', 'from "vitest"'));
  }
  const suites = files.filter((file) => file.endsWith(".test.ts")).length;
  const passed = new RegExp(`Test Files +${suites} passed`);
  await example("guides: suites under vitest", "npx", ["--no", "--", "vitest", "run", "--root", copy], passed, {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
}

/** The page of watch-from-a-client.md in a folder of its own. */
function pageFolder(folder) {
  const page = join(folder, "page");
  mkdirSync(page);
  for (const file of ["index.html", "vite.config.js", "watch-browser.ts"]) cpSync(join(folder, file), join(page, file));
  return page;
}

/** A live run, the page served as in the guide, and a browser that opens it. */
const liveProgram = (root) => `
set -euo pipefail
weir train config.yaml --set monitor.port=4100 --set phases.0.steps=100000 --parts out/reward.js --set reward.actor=cited >/dev/null 2>&1 &
training=$!
vite page --port 4173 --strictPort --logLevel warn &
served=$!
trap 'kill $training $served; wait' EXIT
cd "${root}"
node -e "const t = setInterval(() => fetch('http://localhost:4173/').then(() => clearInterval(t), () => {}), 200)"
node --import tsx scripts/open-page.ts http://localhost:4173/ li
`;
