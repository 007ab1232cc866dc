import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Arm, type RunRecord, SMOLLM2_ARMS, smallSection, smollm2Section, withSection } from "./results-page.js";

/**
 * Runs a recipe of the demo over several seeds and writes its section of docs/results.md. The small one also runs with as
 * many more SFT steps instead of RL, for comparison; the pretrained model's section also takes the runs of its other recipes
 * that are there. Runs that are already there are not repeated.
 * Usage: npm run results [-- --recipe small|smollm2|smollm2-full --seeds 1,2,3 --out runs/results]
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
const recipes = ["small", ...Object.keys(SMOLLM2_ARMS)];
if (!recipes.includes(recipe)) throw new Error(`--recipe: expected one of ${recipes.join(", ")}, got "${recipe}"`);
const seeds = values.seeds.split(",").map(Number);
const out = join(root, values.out);

/** One run of the demo, or the result of an earlier call in `<name>.json`. */
async function demo(name: string, seed: number, extra: readonly string[]): Promise<RunRecord> {
  const path = join(out, `${name}.json`);
  if (!existsSync(path)) {
    console.log(`demo ${name}`);
    const program = join(root, "dist/src/cli/main.js");
    const options = ["--recipe", recipe, "--seed", String(seed), "--exit", "--json", "--out", join(out, "runs")];
    const child = spawn(process.execPath, [program, "demo", ...options, ...extra], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    const code = await new Promise((resolve) => child.on("exit", resolve));
    if (code !== 0) throw new Error(`the demo ended with exit code ${code}`);
    const { runDirectory, report, seconds } = JSON.parse(text) as {
      runDirectory: string;
      report: RunRecord;
      seconds: number;
    };
    await writeFile(path, `${JSON.stringify({ ...report, wallSeconds: seconds }, null, 2)}\n`);
    // Checkpoints of the pretrained model take gigabytes, and a finished run is not resumed.
    if (recipe !== "small") await rm(join(runDirectory, "checkpoints"), { recursive: true, force: true });
  }
  return JSON.parse(await readFile(path, "utf8")) as RunRecord;
}

await mkdir(out, { recursive: true });
const machine = { cores: cpus().length, model: cpus()[0]?.model ?? "unknown" };
const runs: RunRecord[] = [];
const controls: RunRecord[] = [];
for (const seed of seeds) {
  runs.push(await demo(recipe === "small" ? `rl-seed${seed}` : `${recipe}-seed${seed}`, seed, []));
  if (recipe === "small") controls.push(await demo(`sft-only-seed${seed}`, seed, ["--sft-only"]));
}
/** This call's runs, and those of the pretrained model's other recipes that are there; the default recipe first. */
async function smollm2Arms(): Promise<Arm[]> {
  const files = await readdir(out);
  const arms = Object.keys(SMOLLM2_ARMS).map(async (name): Promise<Arm> => {
    if (name === recipe) return { recipe, runs };
    const own = files.filter((file) => new RegExp(`^${name}-seed\\d+\\.json$`).test(file));
    const records = own.map(async (file) => JSON.parse(await readFile(join(out, file), "utf8")) as RunRecord);
    return { recipe: name, runs: (await Promise.all(records)).sort((a, b) => a.seed - b.seed) };
  });
  return (await Promise.all(arms)).filter((arm) => arm.runs.length > 0);
}

const section =
  recipe === "small"
    ? smallSection(runs, controls, machine)
    : smollm2Section((await smollm2Arms()) as [Arm, ...Arm[]], machine);
const page = join(root, "docs/results.md");
await writeFile(page, withSection(existsSync(page) ? await readFile(page, "utf8") : "", section));
console.log(section);
