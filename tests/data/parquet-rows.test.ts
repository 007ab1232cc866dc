import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { dateText, shortestFloat16, shortestFloat32, timestampText, timeText } from "../../src/data/parquet-values.js";
import { readTasks } from "../../src/data/read-tasks.js";
import { readRecords } from "../../src/data/records.js";
import { WeirError } from "../../src/errors.js";
import { observedFile } from "../../src/system/observed-file.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

const fixture = (name: string) => new URL(`../fixtures/data/${name}`, import.meta.url).pathname;

// Written by pyarrow 26.0.1 (tests/fixtures/data/make.py); the values are those of its source.
describe.each(["values.parquet", "values-plain.parquet"])("values of %s", (name) => {
  const column = async (key: string) => (await readRecords(fixture(name))).map((row) => row[key]);

  it.each<[string, unknown[]]>([
    ["float16", [0.1, 2.5, 0.333]],
    ["float32", [0.1, 16777216, 1e-45]],
    ["float64", [0.1, 1e21, "NaN"]],
    ["decimal_9_2", [12.5, -0.05, null]],
    ["decimal_38_10", ["12345678901234567890.5000000000", -1.5, 0]],
    ["date", ["2024-05-01", "1066-10-14", null]],
    ["milliseconds", ["2024-05-01T12:30:00", "1969-12-31T23:59:59.999", null]],
    ["microseconds_utc", ["2024-05-01T12:30:00.123456Z", "2024-05-01T00:00:00Z", null]],
    ["nanoseconds", ["2024-05-01T12:30:00.123456789", "1969-12-31T23:59:59.999999999", null]],
    ["time", ["12:30:00.25", "00:00:00", null]],
    ["int64", ["9007199254740993", "-9223372036854775808", 5]],
    ["uint64", ["18446744073709551615", 0, null]],
    ["uint32", [4294967295, 0, null]],
    ["boolean", [true, false, null]],
    ["list_float32", [[0.1, 0.2], [], null]],
    ["struct", [{ price: 1.1, day: "2024-01-02", all: [2.2] }, null, { price: null, day: null, all: [] }]],
    ["map", [{ k: 1.5 }, {}, null]],
    ["bytes", ["café", "//4=", null]],
  ])("%s keeps them", async (key, expected) => {
    expect(await column(key)).toEqual(expected);
  });
});

describe("values in the form that people write", () => {
  it("the shortest text of a float32 reads back as it, and no shorter one does (property)", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const short = shortestFloat32(value);
        // Minus zero is 0 in decimal digits.
        expect(Math.fround(short) === value).toBe(true);
        const digits = short.toExponential().replace(/e.*|[-.]/g, "").length;
        if (digits > 1) expect(Math.fround(Number(value.toPrecision(digits - 1))) === value).toBe(false);
      }),
    );
  });

  // numpy 2: str(np.float16(x)).
  it.each([
    [0.0999755859375, 0.1],
    [0.333251953125, 0.3333],
    [65504, 65500],
    [2 ** -24, 6e-8],
    [-2.5, -2.5],
    [0, 0],
    [1024, 1024],
    [1, 1],
  ])("float16 %d is %d", (value, text) => {
    expect(shortestFloat16(value)).toBe(text);
  });

  it("dates and times before 1970 count backwards", () => {
    expect(dateText(-1)).toBe("1969-12-31");
    expect(timestampText(-1n, "MICROS", true)).toBe("1969-12-31T23:59:59.999999Z");
    expect(timeText(86_399_000_000_000n, "NANOS")).toBe("23:59:59");
    expect(() => dateText(1e9)).toThrow(RangeError);
  });
});

describe("rows of parquet", () => {
  it("give a message the fields that it has, not those of other messages", async () => {
    const tasks = await readTasks(fixture("tool-calls.parquet"));
    const call = (name: string, args: object) => [{ type: "function", function: { name, arguments: args } }];
    expect(tasks.map(({ messages }) => messages)).toEqual(
      [call("city", { city: "Oslo" }), call("day", { day: 3 })].map((tool_calls) => [
        { role: "user", content: "Weather?" },
        { role: "assistant", content: null, tool_calls },
        { role: "tool", content: "18 C", tool_call_id: "c1", name: "weather" },
      ]),
    );
    expect(tasks[0]?.goldAnswers).toEqual(["Therefore, the answer is 18.", "Therefore, the answer is 18 C."]);
  });

  it("are refused by row and column where a text is not UTF-8", async () => {
    const error = await failure(() => readTasks(fixture("latin1.parquet")), "WEIR_E_DATA");
    expect(error.message).toMatch(/latin1\.parquet: row 1, column "prompt": its text is not UTF-8/);
  });

  it("of a damaged file are rows or a coded error", async () => {
    const whole = await readFile(fixture("verl-structs.parquet"));
    const file = join(await temporaryFolder(), "damaged.parquet");
    let damaged = 0;
    // A prime stride reaches pages, headers and metadata alike.
    for (let at = 4; at < whole.length; at += 23) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] as number) ^ 0xff;
      await writeFile(file, bytes);
      await readTasks(file).catch((error: unknown) => {
        damaged++;
        expect(WeirError.isInstance(error) && error.code, String(error)).toBe("WEIR_E_DATA");
      });
    }
    expect(damaged).toBeGreaterThan(100);
  });

  it("of a damaged file leave no promise of the reader to fail alone, which would end the process", async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listener);
    onTestFinished(() => void process.off("unhandledRejection", listener));
    const broken = observedFile({ byteLength: 8, slice: async () => Promise.reject(new Error("cut off")) });
    // As the library does: chained, then forgotten; another chain of the same kind is awaited.
    void Promise.resolve(broken.slice(0, 4))
      .then(() => 1)
      .then(() => 2);
    void Promise.resolve(broken.slice(4, 8));
    await expect(Promise.resolve(broken.slice(0, 8)).then(() => 3)).rejects.toThrow("cut off");
    await setImmediate();
    expect(unhandled).toEqual([]);
    const whole = observedFile({ byteLength: 2, slice: () => new ArrayBuffer(2) });
    expect((await whole.slice(0, 2)).byteLength).toBe(2);
  });
});
