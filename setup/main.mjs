#!/usr/bin/env node
/**
 * Sets weir up in a clone: npm packages from the lockfile, dist, the native engine and its kernels in the per-user cache.
 * Each part is skipped in milliseconds when it is already there. Plain Node, no dependency.
 */
import { parseArgs } from "node:util";
import { runSetup } from "./setup.mjs";

const HELP = `Usage: node setup/main.mjs [options]

  --no-native  leave the native engine out (weir then runs on wasm)
  --cpu        take the CPU build of TensorFlow even where an NVIDIA driver answers
  --gpu        take the GPU build of TensorFlow
  --force      do everything again
  --json       print the result as JSON on stdout
  --help       this text

The engine goes to $WEIR_CACHE, or $XDG_CACHE_HOME/weir, or ~/.cache/weir, and serves every clone of the user.
Exit codes: 0 set up (also where the native engine could not be had and wasm is used), 1 failed, 2 wrong usage.
`;

let options;
try {
  options = parseArgs({
    options: {
      "no-native": { type: "boolean", default: false },
      cpu: { type: "boolean", default: false },
      gpu: { type: "boolean", default: false },
      force: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  }).values;
} catch (error) {
  process.stderr.write(`setup: ${error.message}\n\n${HELP}`);
  process.exit(2);
}
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const say = (line) => process.stderr.write(`setup: ${line}\n`);
try {
  const result = await runSetup({
    native: !options["no-native"],
    variant: options.cpu ? "cpu" : options.gpu ? "gpu" : "auto",
    force: options.force,
    say,
  });
  if (result.native.status !== "reused") say(result.native.reason);
  for (const { status, reason } of [result.kernels, result.functions])
    if (status === "ready" || status === "unavailable") say(reason);
  if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
