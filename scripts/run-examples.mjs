/**
 * Runs the programs of examples/ as a stranger would: weir packed, the tarball installed in an empty project, the
 * examples copied beside it and run on a fixture model. Needs the npm registry for weir's own dependencies.
 * Usage: node scripts/run-examples.mjs [--keep]
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cleanNpmEnvironment } from "./native/install.mjs";
import { run } from "./native/run.mjs";
import { ensureBuild } from "./setup/dist.mjs";

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

/** Tasks and a configuration for the examples that take one. */
function writeConfiguration(steps) {
  const tasks = Array.from({ length: 32 }, (_, index) => ({
    data_source: "musique",
    prompt: [{ role: "user", content: `Box ${index} holds a coin. What does box ${index} hold?` }],
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
    rollout: { groupSize: 4, promptsPerStep: 2, maxTokens: 16 },
    // A random model earns nothing: groups without variance are kept so that steps happen.
    dynamicSampling: { enabled: false },
  };
  writeFileSync(file, JSON.stringify(config, null, 2));
  return file;
}

/** Starts `weir train`, waits for the monitor's address, and watches the run with the example until it ends. */
async function watchExample() {
  let announce = () => {};
  const address = new Promise((resolve) => {
    announce = resolve;
  });
  const training = example(
    "weir train",
    "npx",
    ["--no", "--", "weir", "train", writeConfiguration(30)],
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
  await Promise.all([example("watch.mjs", process.execPath, ["watch.mjs", url], /step \d+: reward/), training]);
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
  for (const file of readdirSync(join(root, "examples"))) cpSync(join(root, "examples", file), join(project, file));

  await example("train.mjs", process.execPath, ["train.mjs", model], /step 5: reward[\s\S]*completed: /);
  const configuration = writeConfiguration(3);
  await example(
    "replace-advantage.mjs",
    process.execPath,
    ["replace-advantage.mjs", configuration],
    /step 3: policy loss[\s\S]*completed/,
  );
  await watchExample();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  if (process.argv.includes("--keep")) console.log(project);
  else rmSync(project, { recursive: true, force: true });
}
