import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import { addColumns } from "../../src/data/add-columns.js";
import { readRecords } from "../../src/data/records.js";

const folder = () => mkdtemp(join(tmpdir(), "weir-columns-"));

const hasPyarrow = (() => {
  try {
    execFileSync("python3", ["-c", "import pyarrow"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** 700 rows in row groups of 300: whole numbers beyond 2^53, a list, text with nulls. */
async function parquetFile(path: string): Promise<void> {
  const writer = new ByteWriter();
  const file = new ParquetWriter({
    writer,
    schema: [
      { name: "root", num_children: 3 },
      { name: "big", type: "INT64", repetition_type: "REQUIRED" },
      { name: "text", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "ids", repetition_type: "OPTIONAL", converted_type: "LIST", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", type: "INT32", repetition_type: "OPTIONAL" },
    ],
    kvMetadata: [
      { key: "origin", value: "a test" },
      { key: "huggingface", value: '{"info": {"features": {}}}' },
    ],
  });
  const rows = Array.from({ length: 700 }, (_, i) => i);
  file.write({
    columnData: [
      { name: "big", data: rows.map((i) => 9007199254740993n + BigInt(i)) },
      { name: "text", data: rows.map((i) => (i % 5 === 0 ? null : `é${i}`)) },
      { name: "ids", data: rows.map((i) => (i % 7 === 0 ? null : [i, i + 1])) },
    ],
    rowGroupSize: [300],
  });
  file.finish();
  await writeFile(path, writer.getBytes());
}

const ADDED = {
  weir_rate: { type: "real", values: Array.from({ length: 700 }, (_, i) => (i === 3 ? null : i)) },
  weir_of: { type: "text", values: Array.from({ length: 700 }, (_, i) => (i % 2 === 0 ? null : `task ${i}`)) },
} as const;

describe("added columns", () => {
  it("stand in parquet beside the others, whose bytes are unchanged", async () => {
    const dir = await folder();
    const [from, to] = [join(dir, "in.parquet"), join(dir, "out.parquet")];
    await parquetFile(from);
    await addColumns(from, to, ADDED);
    const [before, after] = [await readRecords(from), await readRecords(to)];
    expect(after).toEqual(
      before.map((row, i) => ({ ...row, weir_rate: ADDED.weir_rate.values[i], weir_of: ADDED.weir_of.values[i] })),
    );
    expect(after[2]).toMatchObject({ big: "9007199254740995", text: "é2", ids: [2, 3] });
    const [old, made] = [await readFile(from), await readFile(to)];
    const dataEnd = old.length - 8 - old.readUInt32LE(old.length - 8);
    expect(made.subarray(0, dataEnd).equals(old.subarray(0, dataEnd))).toBe(true);
    // A description of all columns would be wrong now.
    expect(made.includes("a test")).toBe(true);
    expect(made.includes("huggingface")).toBe(false);
    expect((await readdir(dir)).sort()).toEqual(["in.parquet", "out.parquet"]);
  });

  it.skipIf(!hasPyarrow)("are read by pyarrow", async () => {
    const dir = await folder();
    const [from, to] = [join(dir, "in.parquet"), join(dir, "out.parquet")];
    await parquetFile(from);
    await addColumns(from, to, ADDED);
    const script = `import pyarrow.parquet as pq, sys
a, b = pq.read_table(sys.argv[1]), pq.read_table(sys.argv[2])
assert all(a[n].equals(b[n]) for n in a.column_names)
print(b.num_rows, b["weir_rate"].to_pylist()[2:5], b["weir_of"].to_pylist()[-1], pq.ParquetFile(sys.argv[2]).num_row_groups)`;
    const told = execFileSync("python3", ["-c", script, from, to]).toString().trim();
    expect(told).toBe("700 [2.0, None, 4.0] task 699 3");
  });

  it("follow the text of each JSON line, which stays as it is written", async () => {
    const dir = await folder();
    const lines = ['{"a": 1.0, "n": 12345678901234567890}', "", '  { "b" : "x}" }  ', "{}"];
    const [from, to] = [join(dir, "in.jsonl.gz"), join(dir, "out.jsonl")];
    await writeFile(from, gzipSync(lines.join("\r\n")));
    await addColumns(from, to, { weir_x: { type: "text", values: ["1", null, "é"] } });
    expect(await readFile(to, "utf8")).toBe(
      '{"a": 1.0, "n": 12345678901234567890,"weir_x":"1"}\n{ "b" : "x}","weir_x":null}\n{"weir_x":"é"}\n',
    );
  });

  it("turn a JSON array into lines, with every digit of its numbers", async () => {
    const dir = await folder();
    const [from, to] = [join(dir, "in.json"), join(dir, "out.jsonl")];
    await writeFile(from, '[{"n": 12345678901234567890, "t": [true, null, {"k": "v"}]},\n {"n": 2}]');
    await addColumns(from, to, { weir_x: { type: "real", values: [0.5, null] } });
    expect(await readFile(to, "utf8")).toBe(
      '{"n":12345678901234567890,"t":[true,null,{"k":"v"}],"weir_x":0.5}\n{"n":2,"weir_x":null}\n',
    );
  });

  it("are refused where the file has one of that name, and leave nothing behind", async () => {
    const dir = await folder();
    for (const [name, text] of [
      ["a.jsonl", '{"weir_of": 1}\n'],
      ["b.json", '[{"weir_of": 1}]'],
    ] as const) {
      await writeFile(join(dir, name), text);
      await expect(addColumns(join(dir, name), join(dir, "out"), { weir_of: ADDED.weir_of })).rejects.toThrow(
        /WEIR_E_DATA.*it has a column "weir_of" already/,
      );
    }
    await parquetFile(join(dir, "c.parquet"));
    await expect(addColumns(join(dir, "c.parquet"), join(dir, "out"), { text: ADDED.weir_of })).rejects.toThrow(
      /it has a column "text" already/,
    );
    expect((await readdir(dir)).sort()).toEqual(["a.jsonl", "b.json", "c.parquet"]);
  });
});
