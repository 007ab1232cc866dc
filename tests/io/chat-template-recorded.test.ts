import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normalizeMessages } from "../../src/model/io/chat-messages.js";
import { strftime } from "../../src/model/io/template/strftime.js";
import { compileTemplate, TemplateFault } from "../../src/model/io/template/template.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";

/** Recorded with the Jinja2 and transformers that expected.json names, by tests/fixtures/templates/make.py. */
interface Recorded {
  readonly text?: string;
  /** "raised" for raise_exception, else the name of Python's exception; "varies" for a text with an address or chance. */
  readonly error?: string;
  readonly message?: string;
}

type Moment = readonly [number, number, number, number, number, number, number];

const FOLDER = join(OWN_FIXTURES, "templates");
const read = (name: string) => JSON.parse(readFileSync(join(FOLDER, name), "utf8"));
const recorded: {
  readonly snippets: readonly ({ readonly template: string } & Recorded)[];
  readonly chats: readonly ({
    readonly template: string;
    readonly chat: string;
    readonly prompt: boolean;
  } & Recorded)[];
  readonly dates: readonly { readonly moment: Moment; readonly texts: Readonly<Record<string, string>> }[];
} = read("expected.json");
const inputs = read("inputs.json");

const dateOf = ([year, month, day, hour, minute, second, microsecond]: Moment): Date =>
  new Date(year, month - 1, day, hour, minute, second, microsecond / 1000);

const outcome = (template: string, variables: Readonly<Record<string, unknown>>): Recorded => {
  try {
    return { text: compileTemplate(template, () => dateOf(inputs.now)).render(variables) };
  } catch (error) {
    if (!(error instanceof TemplateFault)) throw error;
    return { error: error.kind, message: error.message };
  }
};

/** Templates that transformers renders and this engine refuses by name: nothing is printed in their place. */
const REFUSED: Readonly<Record<string, string>> = {
  "{{ none[1:] }}": "a NoneType cannot be sliced",
  "{{ 'abc'.encode('utf-8') }}": "the method encode of text",
  "{% for i in range(3) %}{{ loop }}{% endfor %}": "printing a value of the type LoopContext",
  "{% block a %}x{% endblock %}": "the statement {% block %}",
  "{{ 'a'|random }}": "the filter random",
  "{{ 'a'.__class__ }}": "the attribute __class__",
  "{{ '<b>x</b>'|striptags }}": "the filter striptags",
  "{{ 10|filesizeformat }}": "the filter filesizeformat",
  "{{ n.real }}": "the attribute real of a int",
  "{{ 2.5 ** 2 }}": "powers of floats",
  "{{ '%#.0f' % 2.5 }}": "the flag # of a float's format",
  "{{ ('<'|e)|upper }}": "the filter upper on text that was escaped or marked safe",
};

describe("a template's constructs", () => {
  const { messages, variables } = inputs.snippets;
  const all = { tools: null, documents: null, add_generation_prompt: false, ...variables, messages };

  it.each(recorded.snippets.map((row) => [row.template, row] as const))("render as in transformers: %s", (_, row) => {
    const found = outcome(row.template, all);
    const refused = REFUSED[row.template];
    if (refused !== undefined) expect(found.message).toBe(refused);
    else if (row.text !== undefined) expect(found).toEqual({ text: row.text });
    else {
      expect(found.text).toBeUndefined();
      expect(found.error === "raised").toBe(row.error === "raised");
      if (row.error === "raised") expect(found.message).toBe(row.message);
    }
  });

  it("are compared in large numbers, and few are refused", () => {
    expect(recorded.snippets.length).toBeGreaterThan(250);
    expect(Object.keys(REFUSED).length).toBeLessThan(13);
  });
});

describe("whole chat templates in the manner of model families", () => {
  it.each(recorded.chats.map((row) => [row.template, row.chat, row.prompt, row] as const))(
    "give the text of transformers: %s, chat %s, generation prompt %s",
    (file, chat, prompt, row) => {
      const { messages, ...given } = inputs.chats[chat];
      const found = outcome(readFileSync(join(FOLDER, "chats", file), "utf8"), {
        bos_token: "<s>",
        eos_token: "</s>",
        tools: null,
        documents: null,
        ...given,
        messages: normalizeMessages(messages),
        add_generation_prompt: prompt,
      });
      if (row.text !== undefined) expect(found).toEqual({ text: row.text });
      else expect([found.text, found.error === "raised"]).toEqual([undefined, row.error === "raised"]);
      if (row.error === "raised") expect(found.message).toBe(row.message);
    },
  );
});

describe("tojson", () => {
  it("writes any JSON value so that it is read back as the same", () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 4 }),
        fc.constantFrom("", "indent=2", "sort_keys=true"),
        (value, options) => {
          fc.pre(!JSON.stringify(value).includes("e+") && !/\d{16}/.test(JSON.stringify(value)));
          const text = compileTemplate(`{{ value|tojson(${options}) }}`).render({ value });
          expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        },
      ),
    );
  });
});

describe("slices and searches", () => {
  it("count code points, not UTF-16 units", () => {
    const characters = fc.array(fc.constantFrom("a", "é", "😀", "字", "\u{1F1F3}"), { maxLength: 12 });
    const index = fc.integer({ min: -14, max: 14 });
    fc.assert(
      fc.property(characters, index, index, (list, start, end) => {
        const render = (source: string) => compileTemplate(source).render({ text: list.join(""), list });
        // A list of characters has the same slices without any encoding.
        expect(render(`{{ text[${start}:${end}] }}`)).toBe(render(`{{ list[${start}:${end}]|join }}`));
        expect(render("{{ text|length }},{{ text.find('😀') }}")).toBe(`${list.length},${list.indexOf("😀")}`);
      }),
    );
  });
});

describe("dates in templates", () => {
  it.each(recorded.dates.map((row) => [row.moment.join("-"), row] as const))(
    "have the texts of Python's strftime under glibc: %s",
    (_, { moment, texts }) => {
      const found = Object.fromEntries(Object.keys(texts).map((format) => [format, strftime(dateOf(moment), format)]));
      expect(found).toEqual(texts);
    },
  );

  it("count seconds since 1970 for %s", () => {
    const date = new Date(Date.UTC(2026, 0, 1));
    expect(strftime(date, "%s")).toBe("1767225600");
  });
});
