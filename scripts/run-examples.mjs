/**
 * Runs the programs of examples/ as a stranger would: weir packed, the tarball installed in an empty project, the examples
 * and the README's program compiled there by a strict TypeScript that also checks weir's own types, and run on a fixture
 * model; then the guides. Needs the npm registry for weir's dependencies, TypeScript and vitest.
 * Usage: node scripts/run-examples.mjs [--keep]
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuild } from "../setup/dist.mjs";
import { cleanNpmEnvironment } from "../setup/install.mjs";
import { run } from "../setup/run.mjs";
import { runGuides } from "./run-guides.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const project = mkdtempSync(join(tmpdir(), "weir-examples-"));
const model = join(root, "tests", "fixtures", "models", "tiny-qwen2");
/** Five steps of a 0.1 M-parameter model take seconds; more than this is a hang. */
const TIMEOUT_MS = 600_000;

/** Runs a program in the project; throws with its output when it fails or its output lacks `expected`. */
async function example(name, command, args, expected, options = {}) {
  const started = performance.now();
  const result = await run(command, args, { cwd: project, timeoutMs: TIMEOUT_MS, ...options });
  if (result.code !== 0 || !expected.test(result.output)) {
    throw new Error(`${name}: exit code ${result.code}, expected ${expected} in its output:\n${result.output}`);
  }
  console.log(`${name}: ok (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return result.output;
}

/** The strictest settings that a user may have; `skipLibCheck: false` makes weir's declarations part of the check. */
const TYPESCRIPT = {
  compilerOptions: {
    target: "ES2022",
    lib: ["ES2022"],
    module: "NodeNext",
    moduleResolution: "NodeNext",
    types: ["node"],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    verbatimModuleSyntax: true,
    erasableSyntaxOnly: true,
    skipLibCheck: false,
    outDir: "out",
  },
  include: ["*.ts"],
};

/** The README's program. It names files that do not exist here, so it is compiled and not run. */
function readmeProgram() {
  const program = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8"))?.[1];
  if (program === undefined) throw new Error("README.md holds no program in TypeScript");
  return program;
}

/** Installs the compiler in the versions that weir is built with, and compiles the examples into out/. */
async function compile(npm) {
  const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const tools = ["typescript", "@types/node", "vitest", "vite"].map((name) => `${name}@${devDependencies[name]}`);
  await example(
    "npm install of TypeScript and vitest",
    "npm",
    ["install", "--no-audit", "--no-fund", ...tools],
    /added \d+/,
    npm,
  );
  for (const file of readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts")))
    cpSync(join(root, "examples", file), join(project, file));
  writeFileSync(join(project, "readme.ts"), readmeProgram());
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify(TYPESCRIPT, null, 2));
  await example("strict compilation", "npx", ["--no", "--", "tsc", "-p", "."], /^$/);
}

/** Tasks and a configuration for the examples that take one. */
function writeConfiguration(steps) {
  const tasks = Array.from({ length: 32 }, (_, index) => ({
    data_source: "musique",
    prompt: [{ role: "user", content: `<text>\nBox ${index} holds a coin.\n</text>\n\nWhat does box ${index} hold?` }],
    reward_model: { style: "rule", ground_truth: "Therefore, the answer is a coin." },
    extra_info: { index },
  }));
  writeFileSync(join(project, "tasks.jsonl"), tasks.map((task) => JSON.stringify(task)).join("\n"));
  const file = join(project, `config-${steps}.json`);
  const config = {
    preset: "quickstart",
    run: { directory: join(project, "runs") },
    model: { path: model },
    data: { train: [join(project, "tasks.jsonl")] },
    phases: [{ maxTokens: 512, steps }],
    // Long enough that some of a random model's responses end by themselves: the examples' rewards look at the length.
    rollout: { groupSize: 8, promptsPerStep: 2, maxTokens: 256 },
  };
  writeFileSync(file, JSON.stringify(config, null, 2));
  return file;
}

/** A random model earns nothing by the rule; the parts of examples/parts.ts give it something to learn. */
const OWN_PARTS = ["--parts", "out/parts.js", "--set", "reward.actor=cited", "--set", "advantage.actor=median"];

/** Starts `weir train`, waits for the monitor's address, and watches the run with the example until it ends. */
async function watchExample() {
  let announce = () => {};
  const address = new Promise((resolve) => {
    announce = resolve;
  });
  const training = example(
    "weir train",
    "npx",
    ["--no", "--", "weir", "train", writeConfiguration(30), ...OWN_PARTS],
    /completed: /,
    {
      onLine: (line) => {
        const found = line.match(/monitor: (\S+)/);
        if (found) announce(found[1]);
      },
    },
  );
  const url = await Promise.race([
    address,
    training.then(() => Promise.reject(new Error("weir train named no monitor"))),
  ]);
  await Promise.all([example("watch.ts", process.execPath, ["out/watch.js", url], /step \d+: reward/), training]);
}

try {
  await ensureBuild({ root, say: (line) => console.log(line) });
  mkdirSync(join(project, "tarball"));
  const npm = { env: cleanNpmEnvironment(process.env) };
  await example(
    "npm pack",
    "npm",
    ["pack", root, "--ignore-scripts", "--pack-destination", "tarball"],
    /weir-rl-.*\.tgz/,
    npm,
  );
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "stranger", private: true, type: "module" }));
  const tarball = join(project, "tarball", readdirSync(join(project, "tarball"))[0]);
  await example("npm install of the tarball", "npm", ["install", tarball, "--no-audit", "--no-fund"], /added \d+/, npm);
  await compile(npm);

  const node = process.execPath;
  await example("train.ts", node, ["out/train.js", model], /step 5: reward[\s\S]*completed: /);
  const configuration = writeConfiguration(3);
  const replaced = ["out/replace-advantage.js", configuration];
  await example("replace-advantage.ts", node, replaced, /step 3: policy loss[\s\S]*completed/);
  await example(
    "parts.test.ts",
    node,
    ["--test", "--test-reporter=tap", "out/parts.test.js"],
    /# pass 32\b[\s\S]*# fail 0\b/,
  );
  const others = ["--set", "advantage.actor=entropy", "--set", "loss.algorithm=cut"];
  for (const further of [[], others]) {
    const args = ["--no", "--", "weir", "train", configuration, ...OWN_PARTS, ...further];
    await example(["parts.ts", ...further].join(" "), "npx", args, /completed: /);
  }
  await watchExample();
  await runGuides({ root, project, model, example });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  if (process.argv.includes("--keep")) console.log(project);
  else rmSync(project, { recursive: true, force: true });
}
