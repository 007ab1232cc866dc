import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { halfToFloatTable, narrow, widen } from "../../src/model/io/dtype.js";
import { readSafetensors, writeSafetensors } from "../../src/model/io/safetensors.js";
import { tensorsInMemory } from "../../src/model/io/tensor-source.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

/** A file with this header and so many zero bytes of data. */
async function fileWith(header: unknown, dataBytes: number, text?: string): Promise<string> {
  const path = join(await temporaryFolder(), "model.safetensors");
  const json = Buffer.from(text ?? JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return path;
}

const F32_PAIR = { dtype: "F32", shape: [2], data_offsets: [0, 8] };

describe("16-bit storage", () => {
  it("keeps every half and every bfloat16 through widening and narrowing", () => {
    for (const dtype of ["F16", "BF16"] as const) {
      const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
      const back = new Uint16Array(narrow(widen(new Uint8Array(words.buffer), dtype), dtype, "all").buffer);
      const isNotANumber = (bits: number) => (dtype === "F16" ? (bits & 0x7fff) > 0x7c00 : (bits & 0x7fff) > 0x7f80);
      for (let i = 0; i < 65536; i += 1) {
        if (isNotANumber(i) ? !isNotANumber(back[i]!) : back[i] !== i)
          throw new Error(`${dtype} ${i} came back as ${back[i]}`);
      }
    }
  });

  it("rounds midpoints of neighbouring halves to the even one, and what lies beside them to the nearer", () => {
    const table = halfToFloatTable();
    const bits = (value: number) => new Uint16Array(narrow(Float32Array.of(value), "F16", "x").buffer)[0];
    for (let low = 0; low < 0x7bff; low += 7) {
      const middle = (table[low]! + table[low + 1]!) / 2;
      const even = low % 2 === 0 ? low : low + 1;
      // Last two: one float32 step beside the middle.
      const found = [bits(middle), bits(-middle), bits(middle * (1 - 2 ** -23)), bits(middle * (1 + 2 ** -23))];
      const wanted = [even, even | 0x8000, low, low + 1];
      if (found.join() !== wanted.join()) throw new Error(`half ${low}: ${found.join()} instead of ${wanted.join()}`);
    }
  });

  it("rounds to the nearest bfloat16, ties to even", () => {
    const bits = (value: number) => new Uint16Array(narrow(Float32Array.of(value), "BF16", "x").buffer)[0];
    expect(bits(1)).toBe(0x3f80);
    expect(bits(1 + 2 ** -8)).toBe(0x3f80);
    expect(bits(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(bits(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81);
    expect(bits(Number.NaN)! & 0x7fff).toBeGreaterThan(0x7f80);
    expect(bits(Number.NEGATIVE_INFINITY)).toBe(0xff80);
  });

  it("refuses a finite value that float16 cannot hold, naming the tensor", async () => {
    expect(narrow(Float32Array.of(65519), "F16", "x")).toEqual(new Uint8Array([0xff, 0x7b]));
    const error = await failure(() => narrow(Float32Array.of(65520), "F16", "lm_head.weight"), "WEIR_E_NON_FINITE");
    expect(error.details).toMatchObject({ tensor: "lm_head.weight", value: 65520 });
  });
});

describe("safetensors files", () => {
  it("come back with names, shapes, values and metadata", async () => {
    const path = join(await temporaryFolder(), "a.safetensors");
    const source = tensorsInMemory({
      b: { shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 3.25) },
      a: { shape: [], data: Float32Array.of(7) },
      "ä/empty": { shape: [0, 3], data: new Float32Array() },
    });
    await writeSafetensors(path, source, { format: "pt", note: "x" }, (name) => (name === "b" ? "BF16" : "F32"));
    const file = await readSafetensors(path);
    expect(file.names()).toEqual(["a", "b", "ä/empty"]);
    expect(file.metadata).toEqual({ format: "pt", note: "x" });
    expect(file.shape("b")).toEqual([2, 2]);
    expect(file.dtype("b")).toBe("BF16");
    expect([...file.read("b")]).toEqual([1, -2, 0.5, 3.25]);
    expect([...file.read("a")]).toEqual([7]);
    expect(file.read("ä/empty").length).toBe(0);
    const bytes = await readFile(path);
    expect((8 + Number(bytes.readBigUInt64LE(0))) % 8).toBe(0);
    await failure(() => file.read("c"), "WEIR_E_MODEL_FILES");
  });

  it("leave nothing behind when a tensor does not fit its shape", async () => {
    const path = join(await temporaryFolder(), "a.safetensors");
    const source = tensorsInMemory({ a: { shape: [3], data: Float32Array.of(1, 2) } });
    const error = await failure(() => writeSafetensors(path, source, {}), "WEIR_E_SHAPE");
    expect(error.details.tensor).toBe("a");
    await failure(() => readSafetensors(path), "WEIR_E_FILE_MISSING");
  });

  it.each<[string, () => Promise<string>, string | undefined]>([
    ["nothing in it", async () => await emptyFile(), undefined],
    ["a header longer than the file", async () => truncatedHeader(), undefined],
    ["a header that is not JSON", () => fileWith(null, 0, "{nope"), undefined],
    ["a header that is a list", () => fileWith([], 0), undefined],
    ["no type", () => fileWith({ w: { ...F32_PAIR, dtype: 7 } }, 8), "w"],
    ["whole numbers in too few bytes", () => fileWith({ w: { ...F32_PAIR, dtype: "I64" } }, 8), "w"],
    ["a shape with a fraction", () => fileWith({ w: { ...F32_PAIR, shape: [0.5] } }, 8), "w"],
    ["no offsets", () => fileWith({ w: { dtype: "F32", shape: [2] } }, 8), "w"],
    ["fewer bytes than the shape needs", () => fileWith({ w: { ...F32_PAIR, shape: [3] } }, 8), "w"],
    ["truncated data", () => fileWith({ w: F32_PAIR }, 7), "w"],
    ["a gap", () => fileWith({ w: F32_PAIR, v: { ...F32_PAIR, data_offsets: [12, 20] } }, 20), "v"],
    ["an overlap", () => fileWith({ w: F32_PAIR, v: { ...F32_PAIR, data_offsets: [4, 12] } }, 12), "v"],
    ["bytes that belong to nobody", () => fileWith({ w: F32_PAIR }, 12), undefined],
  ])("with %s are refused", async (_, make, tensor) => {
    const path = await make();
    const error = await failure(() => readSafetensors(path), "WEIR_E_MODEL_FILES");
    expect(error.details.tensor).toBe(tensor);
    if (tensor !== undefined) expect(error.message).toContain(`tensor ${tensor}`);
  });
});

describe("tensors of other types", () => {
  it("are listed with their type and cannot be read as weights", async () => {
    const path = await fileWith({ w: { ...F32_PAIR, dtype: "I64", data_offsets: [0, 16] } }, 16);
    const file = await readSafetensors(path);
    expect(file.dtype("w")).toBe("I64");
    const error = await failure(() => file.read("w"), "WEIR_E_MODEL_FILES");
    expect(error.details).toMatchObject({ tensor: "w", dtype: "I64" });
  });

  it("are rounded to float32 where they are float64", async () => {
    const path = await fileWith({ w: { dtype: "F64", shape: [2], data_offsets: [0, 16] } }, 16);
    const bytes = await readFile(path);
    // 0.1 and 1 + 2^-30, which float32 cannot tell from 1.
    Buffer.from(Float64Array.of(0.1, 1 + 2 ** -30).buffer).copy(bytes, bytes.length - 16);
    await writeFile(path, bytes);
    expect([...(await readSafetensors(path)).read("w")]).toEqual([Math.fround(0.1), 1]);
  });
});

async function emptyFile(): Promise<string> {
  const path = join(await temporaryFolder(), "model.safetensors");
  await writeFile(path, "");
  return path;
}

async function truncatedHeader(): Promise<string> {
  const path = await fileWith({ w: F32_PAIR }, 8);
  const bytes = await readFile(path);
  await writeFile(path, bytes.subarray(0, 20));
  return path;
}
