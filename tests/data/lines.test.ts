import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openBytes } from "../../src/data/compression.js";
import { openFile, textLines, wholeText } from "../../src/data/lines.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

type Part = string | readonly number[];

const bytesOf = (...parts: readonly Part[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from(part))));

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function linesOf(bytes: Uint8Array, size = 5, longest?: number): Promise<string[]> {
  const lines: string[] = [];
  let number = 0;
  for await (const line of textLines("f", inPieces(bytes, size), longest)) {
    expect(line.number).toBe(++number);
    lines.push(line.text);
  }
  return lines;
}

describe("text lines", () => {
  it("end with LF, CRLF or CR, the last one without an end too", async () => {
    expect(await linesOf(bytesOf("a\nb\r\nc\rd"))).toEqual(["a", "b", "c", "d"]);
    expect(await linesOf(bytesOf("a\n\n\r\n\rb\n"))).toEqual(["a", "", "", "", "b"]);
    expect(await linesOf(bytesOf(""))).toEqual([]);
  });

  it("are the same however the bytes are cut into chunks (property)", async () => {
    const text = fc
      .array(fc.constantFrom("a", "é", "𝄞", "\n", "\r", "\r\n"), { maxLength: 30 })
      .map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 7 }), async (content, size) => {
        const expected = content.split(/\r\n|\n|\r/);
        if (expected.at(-1) === "") expected.pop();
        expect(await linesOf(bytesOf(content), size)).toEqual(expected);
      }),
    );
  });

  it("may hold U+2028, U+2029 and U+0085, which end no line of JSON", async () => {
    expect(await linesOf(bytesOf("a\u2028b\u2029c\u0085d\ne"))).toEqual(["a\u2028b\u2029c\u0085d", "e"]);
  });

  it("lose a byte order mark at their head, so that joined files read as one", async () => {
    expect(await linesOf(bytesOf("\uFEFFa\n\uFEFFb\nc\uFEFFd"))).toEqual(["a", "b", "c\uFEFFd"]);
  });

  // Latin-1 é; a sequence cut off; UTF-8 of half a surrogate pair; an overlong slash.
  it.each<[string, readonly number[]]>([
    ["Latin-1", [0xe9]],
    ["a sequence that is cut off", [0xe2, 0x82]],
    ["half of a surrogate pair", [0xed, 0xa0, 0x80]],
    ["an overlong character", [0xc0, 0xaf]],
  ])("are refused with their number where they hold %s", async (_, bad) => {
    const bytes = bytesOf("fine\nalso fine\ncaf", bad, "\nfine\n");
    const error = await failure(() => linesOf(bytes), "WEIR_E_DATA");
    expect(error.message).toContain('f: line 3 is not UTF-8: a byte after "caf" cannot be read');
    const whole = await failure(() => wholeText("f", inPieces(bytes, 4)), "WEIR_E_DATA");
    expect(whole.message).toContain("line 3 is not UTF-8");
  });

  it("have a limit, so that a file without line ends does not fill the memory", async () => {
    expect(await linesOf(bytesOf("12345678\nx"), 3, 8)).toEqual(["12345678", "x"]);
    const error = await failure(() => linesOf(bytesOf("x\n123456789"), 3, 8), "WEIR_E_DATA");
    expect(error.message).toContain("line 2 has more than 8 bytes");
    await failure(() => wholeText("f", inPieces(bytesOf("123456789"), 3), 8), "WEIR_E_DATA");
  });
});

describe("what a file is, by its first bytes", () => {
  const open = (...parts: readonly Part[]) => openBytes("f", inPieces(bytesOf(...parts), 3));
  const text = async (bytes: Uint8Array) => wholeText("f", (await openBytes("f", inPieces(bytes, 7))).chunks);

  it("gzip is decompressed, in several members too, and other files are left as they are", async () => {
    expect(await text(bytesOf("plain"))).toBe("plain");
    expect(await text(gzipSync("pressed"))).toBe("pressed");
    expect(await text(Buffer.concat([gzipSync("one "), gzipSync("two")]))).toBe("one two");
    expect(await text(gzipSync(""))).toBe("");
    expect(await text(bytesOf(""))).toBe("");
  });

  it("gzip that is cut off, damaged or followed by something else is an error", async () => {
    const whole = gzipSync("a text that is compressed");
    const damaged = Buffer.from(whole);
    damaged[damaged.length - 6] = (damaged[damaged.length - 6] as number) ^ 0xff;
    for (const bytes of [
      whole.subarray(0, -4),
      whole.subarray(0, 12),
      damaged,
      Buffer.concat([whole, Buffer.from("{}")]),
    ]) {
      const error = await failure(() => text(bytes), "WEIR_E_DATA");
      expect(error.message).toMatch(/f: .*gzip/);
    }
  });

  // File signatures as their formats' documents give them.
  it.each<[string, readonly Part[]]>([
    ["zstd", [[0x28, 0xb5, 0x2f, 0xfd], "…"]],
    ["bzip2", ["BZh9…"]],
    ["xz", [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "…"]],
    ["lz4", [[0x04, 0x22, 0x4d, 0x18], "…"]],
    ["zip", [[0x50, 0x4b, 0x03, 0x04], "…"]],
    ["7z", [[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], "…"]],
    ["Arrow", ["ARROW1…"]],
    ["encrypted parquet", ["PARE…"]],
    ["Git LFS pointer", ["version https://git-lfs.github.com/spec/v1\noid sha256:00\n"]],
    ["UTF-16", [[0xff, 0xfe, 0x7b, 0x00]]],
    ["UTF-16", [[0xfe, 0xff, 0x00, 0x7b]]],
  ])("%s is refused by its name, inside of gzip too", async (name, parts) => {
    expect((await failure(() => open(...parts), "WEIR_E_DATA")).message).toContain(name);
    expect((await failure(() => open([...gzipSync(bytesOf(...parts))]), "WEIR_E_DATA")).message).toContain(name);
  });

  it("gzip in gzip and parquet in gzip are refused", async () => {
    expect((await failure(() => open([...gzipSync(gzipSync("x"))]), "WEIR_E_DATA")).message).toContain("twice");
    expect((await failure(() => open([...gzipSync("PAR1…")]), "WEIR_E_DATA")).message).toContain("parquet");
  });

  it("the bytes' source is let go where it is refused, read, or left", async () => {
    let open = 0;
    async function* source(bytes: Uint8Array) {
      open++;
      try {
        yield* inPieces(bytes, 3);
      } finally {
        open--;
      }
    }
    await failure(() => openBytes("f", source(bytesOf("BZh9…"))), "WEIR_E_DATA");
    await failure(() => openBytes("f", source(gzipSync("PAR1…"))), "WEIR_E_DATA");
    await (await openBytes("f", source(bytesOf("PAR1…")))).close();
    await wholeText("f", (await openBytes("f", source(gzipSync("text")))).chunks);
    for await (const line of textLines("f", (await openBytes("f", source(bytesOf("a\nb")))).chunks)) {
      expect(line.text).toBe("a");
      break;
    }
    expect(open).toBe(0);
  });

  it("a folder is told from a file, and a missing one by its code", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "rows.jsonl"));
    expect((await failure(() => openFile(join(folder, "rows.jsonl")), "WEIR_E_DATA")).message).toContain(
      "it is a folder",
    );
    await failure(() => openFile(join(folder, "none.jsonl")), "WEIR_E_FILE_MISSING");
    await writeFile(join(folder, "file"), "x");
    await failure(() => openFile(join(folder, "file", "none.jsonl")), "WEIR_E_FILE_MISSING");
  });
});
