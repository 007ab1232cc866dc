/** Wheels: pip's arguments, versions, and the zip reader against an archive written here byte by byte. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

interface Entry {
  readonly name: string;
  readonly size: number;
}
const zip = await loadScript<{
  crc32(bytes: Uint8Array, crc?: number): number;
  listEntries(file: string): Promise<Entry[]>;
  extractEntry(file: string, entry: Entry, target: string): Promise<void>;
}>("setup/zip.mjs");
const wheel = await loadScript<{
  wheelVersion(name: string): string | null;
  findWheel(
    directory: string,
    packageName: string,
  ): Promise<{ readonly file: string; readonly version: string } | null>;
  downloadAttempts(packageName: string, directory: string, pipVersion: string, arch: string): string[][];
  cudaRequirements(metadata: string): string[];
}>("setup/wheel.mjs");

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weir-wheel-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** A zip archive of deflated (or, when empty or asked for, stored) entries. */
function makeZip(files: Readonly<Record<string, { readonly body: Buffer; readonly stored?: boolean }>>): Buffer {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, { body, stored }] of Object.entries(files)) {
    const packed = stored ? body : deflateRawSync(body);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(Buffer.byteLength(name), 26);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50, 0);
    record.writeUInt16LE(stored ? 0 : 8, 10);
    record.writeUInt32LE(zip.crc32(body), 16);
    record.writeUInt32LE(packed.length, 20);
    record.writeUInt32LE(body.length, 24);
    record.writeUInt16LE(Buffer.byteLength(name), 28);
    record.writeUInt32LE(offset, 42);
    local.push(head, Buffer.from(name), packed);
    central.push(record, Buffer.from(name));
    offset += 30 + Buffer.byteLength(name) + packed.length;
  }
  const directoryBytes = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(directoryBytes.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...local, directoryBytes, end]);
}

describe("CRC-32", () => {
  it("gives the check value of the standard, in one go and in pieces", () => {
    // "123456789" → CBF43926 is the check value in every table of CRC parameters.
    const text = Buffer.from("123456789");
    expect(zip.crc32(text)).toBe(0xcbf43926);
    expect(zip.crc32(text.subarray(3), zip.crc32(text.subarray(0, 3)))).toBe(0xcbf43926);
  });
});

describe("the zip reader", () => {
  const body = Buffer.from("weir ".repeat(10_000));

  it("writes deflated, stored and empty entries out as they went in", async () => {
    const file = join(directory, "a.whl");
    writeFileSync(
      file,
      makeZip({
        "t/deflated": { body },
        "t/stored": { body, stored: true },
        "t/empty": { body: Buffer.alloc(0), stored: true },
      }),
    );
    const entries = await zip.listEntries(file);
    expect(entries.map(({ name, size }) => [name, size])).toEqual([
      ["t/deflated", 50_000],
      ["t/stored", 50_000],
      ["t/empty", 0],
    ]);
    for (const entry of entries) await zip.extractEntry(file, entry, join(directory, "out", entry.name));
    expect(readFileSync(join(directory, "out", "t/deflated")).equals(body)).toBe(true);
    expect(readFileSync(join(directory, "out", "t/stored")).equals(body)).toBe(true);
    expect(readFileSync(join(directory, "out", "t/empty")).length).toBe(0);
  });

  it("refuses an archive that was cut short and an entry whose bytes changed", async () => {
    const bytes = makeZip({ stored: { body, stored: true } });
    const cut = join(directory, "cut.whl");
    writeFileSync(cut, bytes.subarray(0, bytes.length / 2));
    await expect(zip.listEntries(cut)).rejects.toThrow("not a complete zip archive");

    const changed = join(directory, "changed.whl");
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(changed, bytes);
    const [entry] = await zip.listEntries(changed);
    await expect(zip.extractEntry(changed, entry as Entry, join(directory, "x"))).rejects.toThrow("is damaged");
  });
});

describe("wheels of an earlier try", () => {
  it("are used when complete, the newest first, and removed when cut short", async () => {
    const complete = makeZip({ a: { body: Buffer.from("a") } });
    writeFileSync(join(directory, "tensorflow_cpu-2.9.0-cp311-x.whl"), complete);
    writeFileSync(join(directory, "tensorflow_cpu-2.21.0-cp311-x.whl"), complete);
    writeFileSync(join(directory, "tensorflow_cpu-2.22.0-cp311-x.whl"), complete.subarray(0, 10));
    expect(await wheel.findWheel(directory, "tensorflow-cpu")).toEqual({
      file: join(directory, "tensorflow_cpu-2.21.0-cp311-x.whl"),
      version: "2.21.0",
    });
    expect(() => readFileSync(join(directory, "tensorflow_cpu-2.22.0-cp311-x.whl"))).toThrow();
    expect(await wheel.findWheel(directory, "tensorflow")).toBeNull();
  });
});

describe("pip's arguments", () => {
  it("ask for the tested series, then anything since 2.18, then wheels of other Pythons", () => {
    const attempts = wheel.downloadAttempts("tensorflow-cpu", "/d", "23.2.1", "x86_64");
    expect(attempts.map((args) => args.at(-1))).toEqual([
      "tensorflow-cpu==2.21.*",
      "tensorflow-cpu>=2.18.0,<3",
      "tensorflow-cpu>=2.18.0,<3",
      "tensorflow-cpu>=2.18.0,<3",
      "tensorflow-cpu>=2.18.0,<3",
    ]);
    expect(attempts.every((args) => args.includes("--no-deps") && args.includes("--only-binary=:all:"))).toBe(true);
    expect(attempts[2]).toContain("manylinux_2_27_x86_64");
    expect(attempts[2]?.join(" ")).toContain("--python-version 3.11");
  });

  it("use what newer pips offer: machine-readable progress, resumed downloads", () => {
    const [old] = wheel.downloadAttempts("tensorflow-cpu", "/d", "23.2.1", "x86_64");
    const [fresh] = wheel.downloadAttempts("tensorflow-cpu", "/d", "25.1", "x86_64");
    expect(old?.join(" ")).toContain("--progress-bar off");
    expect(old).not.toContain("--resume-retries");
    expect(fresh?.join(" ")).toContain("--progress-bar raw");
    expect(fresh).toContain("--resume-retries");
  });

  it("reads a version from a wheel's name and the CUDA libraries from its metadata", () => {
    expect(wheel.wheelVersion("tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl")).toBe("2.21.0");
    const metadata = [
      "Requires-Dist: numpy>=1.26.0",
      'Requires-Dist: nvidia-cublas-cu12==12.5.3.2; extra == "and-cuda"',
      "Requires-Dist: nvidia-cudnn-cu12 (<10.0,>=9.3.0.75) ; extra == 'and-cuda'",
    ].join("\n");
    expect(wheel.cudaRequirements(metadata)).toEqual([
      "nvidia-cublas-cu12==12.5.3.2",
      "nvidia-cudnn-cu12<10.0,>=9.3.0.75",
    ]);
  });
});
