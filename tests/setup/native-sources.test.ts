/** The C++ sources: what they may include, what is generated, and that both builds of them use the same flags. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

const root = join(import.meta.dirname, "..", "..");
const native = join(root, "native");
const ARITHMETIC = ["core", "simd", "gemm", "attention", "ops", "tests", "bench"];

const sourcesOf = (folder: string) =>
  readdirSync(join(native, folder), { recursive: true })
    .map(String)
    .filter((name) => /\.(cc|h)$/.test(name))
    .map((name) => ({ name: `${folder}/${name}`, text: readFileSync(join(native, folder, name), "utf8") }));

/** Functions at the margin of a file or of a class in it, from the line that opens their body to the one that closes it. */
function functionsOf(text: string): { readonly head: string; readonly lines: number }[] {
  const all = text.split("\n");
  return all.flatMap((head, at) => {
    const margin = /^( {0,2})\S.*\{$/.exec(head)?.[1];
    if (margin === undefined || /^\s*(namespace|class|struct|enum|public|private)\b/.test(head)) return [];
    const length = all.slice(at).findIndex((line) => line.startsWith(`${margin}}`));
    return length > 0 ? [{ head: head.trim(), lines: length + 1 }] : [];
  });
}

describe("native sources", () => {
  it.each(ARITHMETIC)("%s includes no header of TensorFlow or Node", (folder) => {
    const found = sourcesOf(folder).filter(({ text }) => /#include\s+["<](tensorflow|tsl|node_api)/.test(text));
    expect(found.map(({ name }) => name)).toEqual([]);
    expect(sourcesOf(folder).length).toBeGreaterThan(0);
  });

  it("are registered, wrapped and documented as native/operations.json declares", () => {
    const { status, stderr } = spawnSync(process.execPath, [join(native, "generate.mjs"), "--check"], {
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  it("add a kernel for every operation that is declared, and no other", () => {
    const { operations } = JSON.parse(readFileSync(join(native, "operations.json"), "utf8")) as {
      operations: { name: string }[];
    };
    const added = sourcesOf("ops").flatMap(({ text }) =>
      [...text.matchAll(/add(?:BothTypes|Kernel)<.*>\("(\w+)"/g)].map((match) => match[1]),
    );
    expect([...new Set(added)].sort()).toEqual(operations.map(({ name }) => name).sort());
  });

  it("are emitted by their generated wrappers only", () => {
    const outside = readdirSync(join(root, "src"), { recursive: true })
      .map(String)
      .filter((name) => /\.ts$/.test(name) && !/\.generated\.ts$/.test(name))
      .map((name) => ({ name, text: readFileSync(join(root, "src", name), "utf8") }));
    const naming = (pattern: RegExp) => outside.filter(({ text }) => pattern.test(text)).map(({ name }) => name);
    expect(naming(/["'`]Weir(?!Error)[A-Z]/)).toEqual([]);
    expect(naming(/\.addOwn\(/)).toEqual(["model/tensor/own/run.ts"]);
    expect(naming(/\brunOp\b/).sort()).toEqual(["model/tensor/own/run.ts", "model/tensor/tf.ts"]);
    expect(naming(/own\/run\.js"|from "\.\/run\.js"/).filter((name) => /^model.tensor/.test(name))).toEqual([]);
  });

  it("hold no function above 80 lines, nor does the set-up", () => {
    const files = [
      ...[...ARITHMETIC, "tensorflow"].flatMap(sourcesOf),
      ...readdirSync(join(root, "setup"))
        .filter((name) => name.endsWith(".mjs"))
        .map((name) => ({ name: `setup/${name}`, text: readFileSync(join(root, "setup", name), "utf8") })),
    ];
    const bodies = files.flatMap(({ name, text }) =>
      functionsOf(text).map(({ head, lines }) => ({ name, head, lines })),
    );
    expect(bodies.length).toBeGreaterThan(200);
    expect(bodies.filter(({ lines }) => lines > 80)).toEqual([]);
  });

  it("are compiled with the same flags by make and by the set-up", async () => {
    const { COMPILE_FLAGS, FILE_FLAGS } = await loadScript<{
      COMPILE_FLAGS: string[];
      FILE_FLAGS: Record<string, string[]>;
    }>("setup/kernel-key.mjs");
    const makefile = readFileSync(join(native, "Makefile"), "utf8");
    const flags = /^FLAGS = (.*)$/m.exec(makefile)?.[1]?.replace("$(ARCH)", "native").split(" ");
    expect(COMPILE_FLAGS.filter((flag) => !flag.startsWith("-D"))).toEqual(flags);
    for (const [file, own] of Object.entries(FILE_FLAGS)) {
      expect(makefile).toContain(`$(BUILD)/${file.replace(".cc", ".o")}: FLAGS += ${own.join(" ")}`);
    }
  });
});
