/**
 * Builds dist/: TypeScript for Node, and the monitor's page with Vite.
 * Usage: node scripts/build.mjs [--clean] [--if-needed]
 *   --if-needed  for a script that runs weir from a clone: packages too, and nothing is said where all is there already
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuild } from "../setup/dist.mjs";
import { ensurePackages } from "../setup/packages.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const flags = new Set(process.argv.slice(2));
const say = (line) => process.stderr.write(`build: ${line}\n`);
try {
  // A clean build is what gets packed, and `--if-needed` precedes a run: both must work as the first command in a clone.
  if (flags.has("--clean") || flags.has("--if-needed")) await ensurePackages({ root, say });
  const { status, seconds } = await ensureBuild({
    root,
    clean: flags.has("--clean"),
    force: !flags.has("--if-needed"),
    say,
  });
  if (!flags.has("--if-needed") || status !== "reused") say(`dist ${status} (${seconds.toFixed(1)} s)`);
} catch (error) {
  process.stderr.write(`build: ${error.message}\n`);
  process.exitCode = 1;
}
