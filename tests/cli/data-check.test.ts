import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { register } from "../../src/cli/commands/data.js";
import { answerSentence, promptMessages } from "../../src/data/synthetic/template.js";

const document = (name: string) =>
  Array.from({ length: 60 }, (_, i) => `${name} fact ${i} is ${name}${i * 7}.`).join(" ");

const row = (name: string, question: string, answer: string, source = "musique") =>
  JSON.stringify({
    data_source: source,
    prompt: promptMessages(document(name), question, "value"),
    reward_model: { ground_truth: answer === "" ? "no sentence" : answerSentence(answer, "value") },
    note: name,
  });

const TRAIN = [
  row("alpha", "Where was Ada born?", "Oslo"),
  row("alpha", "Where was Ada born?", "Rome"),
  row("beta", "Who is the mayor of Bergen?", "Bo"),
  row("gamma", "In which town of Norway, Oslo, is the tower?", "Oslo"),
  row("delta", "Who is older, Ada or Bo?", "Ada"),
  row("epsilon", "Who wrote it?", ""),
];
const HELDOUT = [row("beta", "who is the mayor of Bergen", "Bo"), row("zeta", "Who?", "Cy")];

let files: { readonly train: string; readonly heldout: string; readonly folder: string };

async function check(...args: string[]) {
  const out: string[] = [];
  const noted: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => out.push(String(text)) > 0);
  const err = vi.spyOn(process.stderr, "write").mockImplementation((text) => noted.push(String(text)) > 0);
  process.exitCode = 0;
  try {
    const program = new Command("weir");
    register(program);
    await program.parseAsync(["node", "weir", "data", "check", ...args]);
    return { code: Number(process.exitCode ?? 0), text: out.join(""), noted: noted.join("") };
  } finally {
    process.exitCode = undefined;
    write.mockRestore();
    err.mockRestore();
  }
}

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "weir-check-"));
  files = { folder, train: join(folder, "train.jsonl"), heldout: join(folder, "heldout.jsonl") };
  await writeFile(files.train, `${TRAIN.join("\n")}\n`);
  await writeFile(files.heldout, `${HELDOUT.join("\n")}\n`);
});

describe("weir data check", () => {
  it("finds tasks of both sides, conflicting gold answers, and what no rule scores", async () => {
    const { code, text } = await check(files.train, "--heldout", files.heldout, "--json");
    expect(code).toBe(1);
    expect(JSON.parse(text)).toMatchObject({
      tasks: { train: 6, heldout: 2 },
      unscorable: { train: 1, heldout: 0 },
      duplicates: {
        train: { exact: 1, near: 0, document: 0, conflicting: 1 },
        heldout: { exact: 0, near: 0, document: 0, conflicting: 0 },
        between: { exact: 1, near: 0, document: 0, conflicting: 0 },
      },
      answerInQuestion: 1,
      closedBook: null,
      passRate: null,
      lengths: { count: 6, unit: "characters" },
      faults: 3,
      written: [],
    });
  });

  it("names the rows for people", async () => {
    const { text, noted } = await check(files.train, "--heldout", files.heldout);
    expect(text).toMatch(/6 tasks, 2 held-out tasks/);
    expect(text).toMatch(/tasks in held-out +1 +0 +0 +0/);
    expect(noted).toMatch(/train\.jsonl, row 2: held-out task "musique:.*" asks the same \(exact\)/);
    expect(noted).toMatch(/train\.jsonl, row 1: its gold answers differ from those of "musique:/);
    expect(noted).toMatch(/train\.jsonl, row 5: no rule can score it/);
    expect(text).toMatch(/3 faults/);
  });

  it("ends with 0 where there is nothing to mend, and writes the columns to another file", async () => {
    const out = join(files.folder, "clean", "out.jsonl");
    const { code, text } = await check(files.heldout, "--write", out);
    expect([code, text.includes("no faults")]).toEqual([0, true]);
    const lines = (await readFile(out, "utf8")).trim().split("\n");
    expect(lines[1]).toBe(
      `${HELDOUT[1]?.slice(0, -1)},"weir_scorable":true,"weir_duplicate_of":null,"weir_duplicate_kind":null,"weir_heldout_match":null,"weir_heldout_kind":null,"weir_answer_in_question":false}`,
    );
  });

  it("refuses what cannot be done, before anything is asked", async () => {
    const refused = async (...args: string[]) => expect(check(files.train, ...args)).rejects;
    await (await refused("--buckets", "100")).toThrow(/WEIR_E_USAGE.*--model/);
    await (await refused("--ask")).toThrow(/--ask needs a model/);
    await (await refused("--endpoint", "http://127.0.0.1:9/v1")).toThrow(/give --ask too/);
    await (await refused("--ask", "--endpoint", "http://127.0.0.1:9/v1")).toThrow(/--endpoint-model/);
    await (await refused("--write", files.train)).toThrow(/would replace a file that is checked/);
    await (await refused("--near", "2")).toThrow(/--near/);
  });
});

describe("weir data check --ask", () => {
  let server: Server;
  let url: string;
  const bodies: { readonly messages: readonly { readonly content: string }[]; readonly seed: number }[] = [];

  beforeAll(async () => {
    server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk) => (text += String(chunk)));
      request.on("end", () => {
        const body = JSON.parse(text);
        bodies.push(body);
        const asked: string = body.messages.at(-1).content;
        if (asked.includes("mayor")) {
          response.writeHead(400).end("too long");
          return;
        }
        // Knows the tower without the document; Ada's birthplace in every second sample, and only with it.
        const right =
          asked.includes("tower") || (asked.includes("<text>") && asked.includes("Ada born") && body.seed % 2 === 0);
        const content = `</think>\n\n${answerSentence(right ? "Oslo" : "Paris", "value")}`;
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify({ choices: [{ message: { role: "assistant", content } }] }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  });

  afterAll(() => new Promise((resolve) => server.close(resolve)));

  it("tells how hard tasks are and which need no document; what was refused is no rate", async () => {
    const out = join(files.folder, "asked.jsonl");
    const model = ["--ask", "--endpoint", url, "--endpoint-model", "m", "--samples", "8"];
    const { text } = await check(files.train, ...model, "--limit", "4", "--write", out, "--json");
    const report = JSON.parse(text);
    const rows = (await readFile(out, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const even = (id: string) =>
      bodies.filter(({ messages, seed }) => messages.at(-1)?.content.includes(id) && seed % 2 === 0).length;
    const [first, second, refused, tower, notAsked] = rows;
    // Two tasks ask for Ada's birthplace, one of them with another gold answer.
    expect(even("Ada born")).toBeGreaterThan(0);
    expect(first.weir_pass_rate).toBeGreaterThan(0);
    expect(first.weir_pass_rate).toBeLessThan(1);
    expect([first.weir_closed_book_rate, second.weir_pass_rate]).toEqual([0, 0]);
    expect([refused.weir_pass_rate, refused.weir_closed_book_rate]).toEqual([null, null]);
    expect([tower.weir_pass_rate, tower.weir_closed_book_rate]).toEqual([1, 1]);
    expect([notAsked.weir_pass_rate, notAsked.note]).toEqual([null, "delta"]);
    expect(report.passRate).toEqual({
      ...{ tasks: 3, failed: 1, never: 1, sometimes: 1, always: 1 },
      mean: (first.weir_pass_rate + 1) / 3,
    });
    expect(report.closedBook).toMatchObject({ tasks: 3, failed: 1, never: 2, sometimes: 0, always: 1 });
    const closed = bodies.filter(({ messages }) => !messages[0]?.content.includes("<text>"));
    expect(closed.length).toBe(bodies.length / 2);
    expect(closed.some(({ messages }) => messages[0]?.content.includes("fact 3"))).toBe(false);
  });

  it("draws the same samples again", async () => {
    const seen = bodies.map(({ seed }) => seed).sort();
    bodies.length = 0;
    await check(files.train, "--ask", "--endpoint", url, "--endpoint-model", "m", "--samples", "8", "--limit", "4");
    expect(bodies.map(({ seed }) => seed).sort()).toEqual(seen);
  });

  it("fails where the server does not know the model", async () => {
    const lost = createServer((_, response) => response.writeHead(404).end("no such model"));
    await new Promise<void>((resolve) => lost.listen(0, "127.0.0.1", resolve));
    const at = `http://127.0.0.1:${(lost.address() as AddressInfo).port}/v1`;
    await expect(check(files.train, "--ask", "--endpoint", at, "--endpoint-model", "m")).rejects.toThrow(
      /WEIR_E_REMOTE.*404.*no such model/,
    );
    await new Promise((resolve) => lost.close(resolve));
  });
});
