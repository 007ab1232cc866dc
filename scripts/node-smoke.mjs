/**
 * Runs weir on the oldest and the newest Node that it supports: doctor, a reply of a model, a small training run, and test
 * files of every layer. Both Nodes come from the npm package `node` and are kept in the per-user cache. A Node that cannot
 * be had (no network, no binary for this platform) is skipped and counted as such.
 * Usage: node scripts/node-smoke.mjs [VERSION …]; WEIR_TEST_REPORT=FILE writes the counts where sum-tests.mjs reads them.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuild } from "../setup/dist.mjs";
import { cleanNpmEnvironment } from "../setup/install.mjs";
import { cacheRoot } from "../setup/paths.mjs";
import { run } from "../setup/run.mjs";

/** The ends of what package.json's `engines` and the README promise. */
const OLDEST = "20.19.0";
const NEWEST = "26";
/** A few files of each layer: formulas, files, streams, machines, engine processes, monitor, suites. */
const TEST_FILES = [
  "tests/algorithms",
  "tests/config",
  "tests/data/read-tasks.test.ts",
  "tests/io/tokenizer.test.ts",
  "tests/store/journal.test.ts",
  "tests/streams",
  "tests/actors/lifecycle.test.ts",
  "tests/engine/process.test.ts",
  "tests/monitor/client.test.ts",
  "tests/conformance",
];
const INSTALL_TIMEOUT_MS = 300_000;
const CHECK_TIMEOUT_MS = 900_000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(root, "dist", "src", "cli", "main.js");
const model = join(root, "tests", "fixtures", "models", "tiny-qwen2");

/** Path of a Node binary of the version given, or the reason why there is none. */
async function nodeBinary(version) {
  const folder = join(cacheRoot(), "nodes", version);
  const binary = join(folder, "node_modules", "node", "bin", process.platform === "win32" ? "node.exe" : "node");
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    const args = ["install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", `node@${version}`];
    const env = cleanNpmEnvironment(process.env);
    const installed = await run("npm", args, { env, timeoutMs: INSTALL_TIMEOUT_MS });
    if (installed.code !== 0)
      return { reason: `npm install node@${version}: ${installed.output.trim().split("\n")[0]}` };
  }
  const answer = await run(binary, ["--version"]);
  if (answer.code !== 0) return { reason: `its binary does not run here: ${answer.output.trim().split("\n")[0]}` };
  return { binary, found: answer.output.trim() };
}

/** The arguments of a run of two RL steps over eight tasks. */
function writeConfiguration(folder) {
  const tasks = Array.from({ length: 8 }, (_, index) => ({
    data_source: "musique",
    prompt: [{ role: "user", content: `Box ${index} holds a coin. What does box ${index} hold?` }],
    reward_model: { style: "rule", ground_truth: "Therefore, the answer is a coin." },
    extra_info: { index },
  }));
  writeFileSync(join(folder, "tasks.jsonl"), tasks.map((task) => JSON.stringify(task)).join("\n"));
  const file = join(folder, "smoke.json");
  const configuration = {
    preset: "quickstart",
    run: { directory: join(folder, "runs") },
    model: { path: model },
    data: { train: [join(folder, "tasks.jsonl")] },
    phases: [{ maxTokens: 512, steps: 2 }],
    reward: { actor: "even" },
    rollout: { groupSize: 2, promptsPerStep: 2, maxTokens: 8 },
  };
  writeFileSync(file, JSON.stringify(configuration));
  // A random model earns nothing by the rule; this reward differs from response to response, so that steps train.
  const parts = join(folder, "parts.mjs");
  writeFileSync(
    parts,
    `export const parts = { reward: { even: { kind: "even", specificationVersion: 1, async handle({ rollout }) {
       const even = rollout.tokenIds.filter((id) => id % 2 === 0).length;
       return { kind: "scored", value: even / rollout.tokenIds.length, parts: {}, prediction: null };
     } } } };`,
  );
  return [file, "--parts", parts];
}

/** The checks of one Node, in order; each has a name, arguments, exit codes that are right, and text that must be printed. */
function checksOf(folder) {
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  return [
    // 1: something to look at, such as a GPU that lies idle.
    { name: "doctor", args: [main, "doctor", "--json"], codes: [0, 1], expected: /"supported":\s*true/ },
    { name: "generate", args: [main, "generate", "--model", model, "--prompt", "hi", "--max-tokens", "4"] },
    { name: "train", args: [main, "train", ...writeConfiguration(folder)], expected: /completed: / },
    { name: "test files", args: [vitest, "run", "--maxWorkers=2", ...TEST_FILES], expected: /Tests .*passed/ },
  ];
}

async function smoke(version, counts) {
  const { binary, found, reason } = await nodeBinary(version);
  if (binary === undefined) {
    counts.skipped.push(`Node ${version}: ${reason}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "weir-node-"));
  try {
    for (const { name, args, codes = [0], expected = /./ } of checksOf(folder)) {
      const started = performance.now();
      const result = await run(binary, args, { cwd: root, timeoutMs: CHECK_TIMEOUT_MS });
      const passed = codes.includes(result.code) && expected.test(result.output);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(`Node ${found}, ${name}: ${passed ? "ok" : `FAILED with code ${result.code}`} (${seconds} s)`);
      if (!passed) console.log(result.output);
      if (passed) counts.passed += 1;
      else counts.failed += 1;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const counts = { passed: 0, failed: 0, skipped: [] };
await ensureBuild({ root, say: (line) => console.log(line) });
const asked = process.argv.slice(2);
for (const version of asked.length > 0 ? asked : [OLDEST, NEWEST]) await smoke(version, counts);
for (const skipped of counts.skipped) console.log(`skipped: ${skipped}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`);
if (process.env.WEIR_TEST_REPORT) {
  const report = {
    numPassedTests: counts.passed,
    numFailedTests: counts.failed,
    numPendingTests: counts.skipped.length,
    testResults: [],
  };
  writeFileSync(process.env.WEIR_TEST_REPORT, JSON.stringify(report));
}
process.exitCode = counts.failed > 0 ? 1 : 0;
