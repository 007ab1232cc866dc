import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { scalarsEvent, textEvent } from "../../src/store/event-message.js";
import { TensorBoardWriter } from "../../src/store/tensorboard.js";
import { crc32c, frameRecord, maskedCrc32c } from "../../src/store/tfrecord.js";

/** Splits a file into its records and checks both checksums of each. */
function records(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(maskedCrc32c(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(maskedCrc32c(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

describe("TFRecord framing", () => {
  it("uses CRC-32C: the check values of RFC 3720 (B.4)", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  });

  it("frames a record as tensorboard's own writer does", () => {
    // tensorboard 2.21: RecordWriter(file).write(b"weir")
    expect(Buffer.from(frameRecord(Buffer.from("weir"))).toString("hex")).toBe(
      "04000000000000004245520477656972467a0fe0",
    );
  });
});

describe("event messages", () => {
  it("are the bytes of tensorboard's own protocol buffers", () => {
    // tensorboard 2.21: Event(wall_time=1.5, step=300, summary=Summary(value=[Value(tag="a/b", simple_value=0.25)]))
    expect(Buffer.from(scalarsEvent(1.5, 300, { "a/b": 0.25 })).toString("hex")).toBe(
      "09000000000000f83f10ac022a0c0a0a0a03612f62150000803e",
    );
    // Event(wall_time=2, step=1, summary=Summary(value=[Value(tag="t", metadata=…plugin_name="text", tensor=string ["hi"])]))
    expect(Buffer.from(textEvent(2, 1, "t", "hi")).toString("hex")).toBe(
      "09000000000000004010012a1d0a1b0a0174420c0807120412020801420268694a080a060a0474657874",
    );
  });
});

describe("the TensorBoard writer", () => {
  it("makes no file before the first event, then one that begins with the file version", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-tensorboard-"));
    const writer = new TensorBoardWriter(folder, () => 1_700_000_000_500);
    expect(await readdir(folder)).toEqual([]);
    writer.scalars(1, { "reward/mean": 0.5, "kl/old_k1": 1e-4 });
    writer.restartAt(1);
    writer.close();
    const names = await readdir(folder);
    expect(names).toHaveLength(1);
    expect(names[0]).toMatch(/^events\.out\.tfevents\.1700000000\./);
    const [version, scalars, restart, ...rest] = records(await readFile(join(folder, names[0] as string)));
    expect(version?.toString("latin1")).toContain("brain.Event:2");
    expect(scalars?.toString("latin1")).toContain("reward/mean");
    expect(restart?.length).toBe(9 + 2 + 4);
    expect(rest).toEqual([]);
  });

  it("gives each writer of a process a file of its own, in order", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-tensorboard-"));
    for (let i = 0; i < 2; i++) {
      const writer = new TensorBoardWriter(folder, () => 1_000);
      writer.text(i, "note", "x");
      writer.close();
    }
    const names = await readdir(folder);
    expect(names).toHaveLength(2);
    expect([...names].sort()).toEqual(names);
  });
});
