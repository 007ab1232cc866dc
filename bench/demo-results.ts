import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readLagRun } from "./lag-run.js";
import { LAG_ARMS, type LagArm, type LagRecord, lagSection } from "./lag-section.js";
import { type Arm, type RunRecord, SMOLLM2_ARMS, smallSection, smollm2Section, withSection } from "./results-page.js";

/**
 * Runs a recipe of the demo over several seeds and writes its section of docs/results.md. The small one also runs with as
 * many more SFT steps instead of RL, for comparison; the pretrained model's section also takes the runs of its other recipes
 * that are there. `lag` runs the small demo at several lags, each of them with every seed before the next seed. Runs that are
 * already there are not repeated.
 * Usage: npm run results [-- --recipe small|lag|smollm2|smollm2-full --seeds 1,2,3 --out runs/results]
 */

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    recipe: { type: "string", default: "small" },
    seeds: { type: "string", default: "1,2,3" },
    out: { type: "string", default: "runs/results" },
  },
});
const { recipe } = values;
const recipes = ["small", "lag", ...Object.keys(SMOLLM2_ARMS)];
if (!recipes.includes(recipe)) throw new Error(`--recipe: expected one of ${recipes.join(", ")}, got "${recipe}"`);
const seeds = values.seeds.split(",").map(Number);
const out = resolve(root, values.out);
const pretrained = recipe in SMOLLM2_ARMS;

/** One run of the demo, or the result of an earlier call in `<name>.json`. */
async function demo(name: string, seed: number, extra: readonly string[]): Promise<RunRecord> {
  const path = join(out, `${name}.json`);
  if (!existsSync(path)) {
    console.log(`demo ${name}`);
    const program = join(root, "dist/src/cli/main.js");
    const settings = ["--recipe", pretrained ? recipe : "small", "--seed", String(seed), ...extra];
    const options = [...settings, "--exit", "--json", "--out", join(out, "runs")];
    const child = spawn(process.execPath, [program, "demo", ...options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    const code = await new Promise((done) => child.on("exit", done));
    if (code !== 0) throw new Error(`the demo ended with exit code ${code}`);
    const { runDirectory, report, seconds } = JSON.parse(text) as {
      runDirectory: string;
      report: RunRecord;
      seconds: number;
    };
    const lag = recipe === "lag" ? { lag: readLagRun(runDirectory) } : {};
    await writeFile(path, `${JSON.stringify({ ...report, ...lag, wallSeconds: seconds }, null, 2)}\n`);
    // Checkpoints of the pretrained model take gigabytes, and a finished run is not resumed.
    if (pretrained) await rm(join(runDirectory, "checkpoints"), { recursive: true, force: true });
  }
  return JSON.parse(await readFile(path, "utf8")) as RunRecord;
}

/** The small demo with RL and without. */
async function smallRuns(): Promise<string> {
  const runs: RunRecord[] = [];
  const controls: RunRecord[] = [];
  for (const seed of seeds) {
    runs.push(await demo(`rl-seed${seed}`, seed, []));
    controls.push(await demo(`sft-only-seed${seed}`, seed, ["--sft-only"]));
  }
  return smallSection(runs, controls, machine);
}

/** The small demo at several lags. */
async function lagRuns(): Promise<string> {
  const byArm = new Map<LagArm, LagRecord[]>(LAG_ARMS.map((arm) => [arm, []]));
  for (const seed of seeds) {
    for (const [{ name, settings }, runs] of byArm) {
      const options = settings.flatMap((setting) => ["--set", setting]);
      runs.push((await demo(`${name}-seed${seed}`, seed, options)) as LagRecord);
    }
  }
  return lagSection(
    [...byArm].map(([arm, runs]) => ({ arm, runs })),
    machine,
  );
}

/** This recipe's runs, and those of the pretrained model's other recipes that are there; the default recipe first. */
async function smollm2Runs(): Promise<string> {
  const runs: RunRecord[] = [];
  for (const seed of seeds) runs.push(await demo(`${recipe}-seed${seed}`, seed, []));
  const files = await readdir(out);
  const arms = Object.keys(SMOLLM2_ARMS).map(async (name): Promise<Arm> => {
    if (name === recipe) return { recipe, runs };
    const own = files.filter((file) => new RegExp(`^${name}-seed\\d+\\.json$`).test(file));
    const records = own.map(async (file) => JSON.parse(await readFile(join(out, file), "utf8")) as RunRecord);
    return { recipe: name, runs: (await Promise.all(records)).sort((a, b) => a.seed - b.seed) };
  });
  const there = (await Promise.all(arms)).filter((arm) => arm.runs.length > 0);
  return smollm2Section(there as [Arm, ...Arm[]], machine);
}

await mkdir(out, { recursive: true });
const machine = { cores: cpus().length, model: cpus()[0]?.model ?? "unknown" };
const section = await (pretrained ? smollm2Runs() : recipe === "lag" ? lagRuns() : smallRuns());
const page = join(root, "docs/results.md");
await writeFile(page, withSection(existsSync(page) ? await readFile(page, "utf8") : "", section));
console.log(section);
