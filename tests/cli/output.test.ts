import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { loadJson, loadJsonLines } from "../../src/cli/load-json.js";
import { createOutput, exitCodeOf, formatTable } from "../../src/cli/output.js";
import { WeirError } from "../../src/errors.js";

function capture(options: { terminal: boolean }) {
  const out: string[] = [];
  const err: string[] = [];
  const clock = { ms: 0 };
  const output = createOutput({
    out: { write: (text: string) => out.push(text), isTTY: options.terminal },
    err: { write: (text: string) => err.push(text), isTTY: options.terminal, columns: 20 },
    now: () => clock.ms,
  });
  return { output, out, err, clock };
}

describe("output", () => {
  it("keeps results on stdout and remarks on stderr", () => {
    const { output, out, err } = capture({ terminal: false });
    output.print("result");
    output.note("remark");
    output.printJson({ a: [1, 2] });
    expect(out).toEqual(["result\n", '{"a":[1,2]}\n']);
    expect(err).toEqual(["remark\n"]);
  });

  it("writes plain progress lines at a limited rate in a pipe and does not lose the last one", () => {
    const { output, err, clock } = capture({ terminal: false });
    const progress = output.progress();
    progress.update("step 1");
    clock.ms = 1_000;
    progress.update("step 2");
    clock.ms = 5_000;
    progress.update("step 3");
    clock.ms = 5_001;
    progress.update("step 4");
    progress.done();
    expect(err).toEqual(["step 1\n", "step 3\n", "step 4\n"]);
  });

  it("rewrites one line on a terminal, cut to its width, and lifts it aside for results", () => {
    const { output, out, err, clock } = capture({ terminal: true });
    const progress = output.progress();
    progress.update("0123456789012345678901234567890");
    expect(err.join("")).toBe("0123456789012345678");
    output.print("result");
    expect(out).toEqual(["result\n"]);
    expect(err.join("")).toBe("0123456789012345678\r\u001b[K0123456789012345678");
    clock.ms = 200;
    err.length = 0;
    progress.update("short");
    progress.done("finished");
    expect(err.join("")).toBe("\r\u001b[Kshort\r\u001b[Kfinished\n");
  });

  it.each([
    [new WeirError("WEIR_E_USAGE", "x"), 2],
    [new WeirError("WEIR_E_CONFIG", "x"), 2],
    [new WeirError("WEIR_E_FILE_MISSING", "x"), 2],
    [new WeirError("WEIR_E_CHECKPOINT_DAMAGED", "x"), 3],
    [new WeirError("WEIR_E_MODEL_FILES", "x"), 3],
    [new WeirError("WEIR_E_ENGINE_CRASHED", "x"), 4],
    [new WeirError("WEIR_E_RUN_LOCKED", "x"), 1],
    [new Error("x"), 1],
    [Object.assign(new Error("x"), { code: "commander.unknownOption", exitCode: 1 }), 2],
    [Object.assign(new Error("x"), { code: "commander.helpDisplayed", exitCode: 0 }), 0],
  ] as const)("maps %s to exit code %i", (error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });

  it("prints a foreseen error without its stack and an unforeseen one with it", () => {
    const { output, err } = capture({ terminal: false });
    expect(output.fail(new WeirError("WEIR_E_USAGE", "expected a number, got x"))).toBe(2);
    expect(err.join("")).toBe("weir: WEIR_E_USAGE: expected a number, got x\n");
    expect(output.fail(new TypeError("boom"))).toBe(1);
    expect(err.join("")).toContain("output.test");
  });

  it("pads tables and aligns numbers right", () => {
    expect(
      formatTable(
        ["bucket", "n"],
        [
          ["short", 5],
          ["longer", 128],
        ],
      ),
    ).toBe("bucket    n\n──────  ───\nshort     5\nlonger  128");
  });
});

describe("JSON input", () => {
  it("names file, line and shape of what is wrong", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-json-"));
    const file = join(folder, "in.jsonl");
    await writeFile(file, '{"a":1}\n\n{"a":"x"}\n');
    const schema = z.object({ a: z.number() });
    await expect(loadJsonLines(file, schema)).rejects.toThrow(
      /in\.jsonl" line 3 does not have the expected shape.*a:/s,
    );
    await expect(loadJson(join(folder, "none.json"), schema)).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
    await writeFile(file, '{"a":1}\n{"a":2}\n');
    expect(await loadJsonLines(file, schema)).toEqual([{ a: 1 }, { a: 2 }]);
    await writeFile(file, "{nope");
    await expect(loadJson(file, schema)).rejects.toMatchObject({ code: "WEIR_E_DATA" });
  });
});
