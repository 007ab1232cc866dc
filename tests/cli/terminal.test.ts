/** Foreign text on its way to a terminal: nothing in it may act on the terminal, and JSON keeps its value. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createOutput } from "../../src/cli/output.js";
import { WeirError } from "../../src/errors.js";
import { printable, printableLine } from "../../src/printable.js";

function terminal(isTTY: boolean) {
  const written: string[] = [];
  const stream = { write: (text: string) => written.push(text), isTTY, columns: 200 };
  const clock = { ms: 0 };
  return {
    output: createOutput({ out: stream, err: stream, now: () => clock.ms }),
    clock,
    text: () => written.join(""),
  };
}

/** ECMA-48 controls (C0, DEL, C1) but tab and line feed; Unicode's explicit bidirectional controls (UAX #9, table 3 and 4). */
const CONTROL = /[\p{Cc}\p{Bidi_Control}]/u;
const acts = (text: string) => [...text].filter((character) => CONTROL.test(character) && !"\n\t".includes(character));

const HOSTILE: readonly (readonly [string, string, string])[] = [
  ["the window's title (OSC 0)", "a\u001b]0;owned\u0007b", "a\\u001b]0;owned\\u0007b"],
  ["a cleared screen in one C1 character (CSI)", "a\u009b2Jb", "a\\u009b2Jb"],
  ["a line written over", "good\rbad", "good\\u000dbad"],
  ["erased characters", "ab\b\bcd", "ab\\u0008\\u0008cd"],
  ["DEL", "a\u007fb", "a\\u007fb"],
  ["a right-to-left override", "user\u202egnp.exe", "user\\u202egnp.exe"],
  ["an isolate", "\u2067abc\u2069", "\\u2067abc\\u2069"],
  ["a zero-width space", "pass\u200bword", "pass\\u200bword"],
  ["tag characters that spell a hidden text", "a\u{e0041}b", "a\\udb40\\udc41b"],
  ["a line separator", "a\u2028b", "a\\u2028b"],
];

describe("foreign text on a terminal", () => {
  it.each(HOSTILE)("%s is shown, not carried out", (_, text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it("leaves what people write: letters, line breaks, tabs, joined emoji, Persian with its non-joiner", () => {
    const text = "Größe\t25 µm\nمی‌خواهم 👩‍🔬 數字";
    expect(printable(text)).toBe(text);
    expect(printable("one\r\ntwo")).toBe("one\ntwo");
    expect(printableLine("one\r\ntwo\tthree")).toBe("one two three");
  });

  it.each([true, false])("no writer lets a control character through (terminal: %s)", (isTTY) => {
    const { output, clock, text } = terminal(isTTY);
    for (const [, hostile] of HOSTILE) {
      output.print(hostile);
      output.note(hostile);
      output.printJson({ [hostile]: hostile });
      output.table([hostile], [[hostile]]);
      output.fail(new WeirError("WEIR_E_DATA", hostile));
      output.fail(new TypeError(hostile));
      const progress = output.progress();
      clock.ms += 10_000;
      progress.update(hostile);
      progress.done(hostile);
    }
    // What weir itself sends to rewrite its progress line.
    expect(acts(text().replaceAll("\r\u001b[K", ""))).toEqual([]);
  });

  it("JSON keeps its value, whatever the text", () => {
    const texts = fc.array(
      fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom(...HOSTILE.map(([, text]) => text))),
    );
    fc.assert(
      fc.property(texts, (values) => {
        const { output, text } = terminal(false);
        output.printJson({ values });
        expect(JSON.parse(text())).toEqual({ values });
        expect(acts(text())).toEqual([]);
      }),
    );
  });

  it("a cell or a progress line with line breaks stays one line", () => {
    const { output, clock, text } = terminal(false);
    output.table(["task"], [["a\nweir: run completed"]]);
    clock.ms = 10_000;
    output.progress().update("b\nc");
    expect(text().split("\n")).toEqual(["task", "─".repeat(21), "a weir: run completed", "b c", ""]);
  });

  it("a model's answer is exact in a pipe and harmless on a terminal", () => {
    const answer = "42\u001b[8m hidden";
    const pipe = terminal(false);
    pipe.output.printExact(answer);
    expect(pipe.text()).toBe(`${answer}\n`);
    const screen = terminal(true);
    screen.output.printExact(answer);
    expect(screen.text()).toBe("42\\u001b[8m hidden\n");
  });
});
