/** `weir eval --bench` from end to end: kill and resume, several processes, a chat server, the comparison. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { register } from "../../src/cli/commands/eval.js";
import { chatServer, completion } from "../evaluation/chat-server.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const MODEL = join(OWN_FIXTURES, "models", "tiny-qwen2");
const MAIN = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");

/** What a command wrote while it ran in this process. */
async function run(...args: readonly string[]): Promise<{ readonly out: string; readonly err: string }> {
  const texts = { out: "", err: "" };
  const keep = (name: "out" | "err") => (text: unknown) => {
    texts[name] += String(text);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation(keep("out")),
    vi.spyOn(process.stderr, "write").mockImplementation(keep("err")),
  ];
  try {
    const program = new Command("weir").exitOverride();
    register(program);
    await program.parseAsync(["node", "weir", "eval", ...args]);
    return texts;
  } finally {
    process.exitCode = 0;
    for (const spy of spies) spy.mockRestore();
  }
}

const question = (id: string, repeats: number, answers: readonly string[]) => ({
  ...{ input: `Where does Mira live? (${id})`, context: "Mira lives in Oslo. ".repeat(repeats), answers },
  ...{ length: 10, dataset: "hotpotqa", language: "en", all_classes: null, _id: id },
});

async function questions(folder: string, count: number): Promise<string> {
  const path = join(folder, "hotpotqa.jsonl");
  const rows = Array.from({ length: count }, (_, i) => question(`q${i}`, 1 + 3 * (i % 4), ["Oslo"]));
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

const lines = async (folder: string) => {
  const path = join(folder, "items.ndjson");
  return existsSync(path) ? (await readFile(path, "utf8")).split("\n").length - 1 : 0;
};

/** The responses of an evaluation by item and sample, whatever the order in which they came. */
async function responses(folder: string): Promise<string[]> {
  const text = await readFile(join(folder, "items.ndjson"), "utf8");
  return text.trim().split("\n").sort();
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("weir eval --bench", () => {
  it("gives the same table after kill -9 in the middle, and with two processes", async () => {
    const folder = await temporaryFolder();
    const file = await questions(folder, 12);
    const args = ["--bench", file, "--model", MODEL, "--backend", "cpu", "--no-think", "--max-tokens", "12"];
    const more = ["--samples", "2", "--rows", "2", "--buckets", "150,200", "--json"];
    const whole = await run(...args, ...more, "--out", join(folder, "whole"));
    expect(whole.err).toContain("every response is in");
    const { benchmarks } = JSON.parse(whole.out);
    expect(benchmarks.hotpotqa.all).toMatchObject({ items: 12, responses: 24, scored: 24, unscored: 0, unanswered: 0 });
    expect(Object.keys(benchmarks.hotpotqa.byBucket)).toEqual(["1-150", "151-200", "201+"]);

    const killed = join(folder, "killed");
    const command = ["--import", "tsx", MAIN, "eval", ...args, ...more, "--out", killed];
    const child = spawn(process.execPath, command, { stdio: "ignore" });
    const ended = new Promise<string | null>((resolve) => child.on("close", (_, signal) => resolve(signal)));
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    await until(async () => (await lines(killed)) >= 4);
    child.kill("SIGKILL");
    expect(await ended).toBe("SIGKILL");
    expect(await lines(killed)).toBeLessThan(24);
    const resumed = await run(...args, ...more, "--out", killed);
    expect(resumed.out).toBe(whole.out);
    expect(await responses(killed)).toEqual(await responses(join(folder, "whole")));

    const two = await run(...args, ...more, "--processes", "2", "--out", join(folder, "two"));
    expect(two.out).toBe(whole.out);
    expect(await responses(join(folder, "two"))).toEqual(await responses(join(folder, "whole")));

    await expect(run(...args, "--samples", "3", "--rows", "2", "--out", killed)).rejects.toThrow(
      /WEIR_E_STATE: .* other settings \(samples was 2 and is 3\)/,
    );
    // Nothing is drawn again for other buckets.
    const again = await run(...args, ...more, "--out", killed, "--buckets", "150");
    expect(Object.keys(JSON.parse(again.out).benchmarks.hotpotqa.byBucket)).toEqual(["1-150", "151+"]);
    expect(await lines(killed)).toBe(24);
  });

  it("scores a chat server by hand-checked numbers, tells failures, tries them again, and compares", async () => {
    const folder = await temporaryFolder();
    const file = await questions(folder, 4);
    let broken = true;
    // q0 and q1 are right, q2 is wrong, q3 is refused at first and right later.
    const server = await chatServer(({ messages }, response) => {
      const id = /\((q\d)\)/.exec(messages[0]?.content ?? "")?.[1];
      if (id === "q3" && broken) {
        response.statusCode = 400;
        return { error: { message: "context length exceeded" } };
      }
      return completion(`<think>so</think> Therefore, the answer is ${id === "q2" ? "Bergen" : "Oslo"}.`);
    });
    const policy = ["--bench", `hotpotqa=${file}`, "--endpoint", server.url, "--model", "policy", "--json"];
    const first = await run(...policy, "--out", join(folder, "a"));
    expect(first.err).toMatch(/1 responses have no score; the same command with --retry-failed/);
    const { all, byBucket, failures } = JSON.parse(first.out).benchmarks.hotpotqa;
    expect(all).toMatchObject({ items: 4, responses: 4, scored: 3, unanswered: 1, scores: { em: 2 / 3, f1: 2 / 3 } });
    expect(all.scoreOverAll.value).toBeCloseTo(2 / 4, 12);
    expect(all.scoreOverScored.value).toBeCloseTo(2 / 3, 12);
    expect(failures).toEqual({ WEIR_E_REMOTE: 1 });
    // Lengths as the server counts them; nobody told that of the refused one.
    expect(Object.keys(byBucket)).toEqual(["1-4096", "unknown"]);
    broken = false;
    const asked = server.requests.length;
    const retried = await run(...policy, "--out", join(folder, "a"), "--retry-failed");
    expect(server.requests.length).toBe(asked + 1);
    expect(JSON.parse(retried.out).benchmarks.hotpotqa.all.scoreOverAll.value).toBeCloseTo(3 / 4, 12);

    const wrong = await chatServer(() => completion("</think> Therefore, the answer is Bergen."));
    await run("--bench", `hotpotqa=${file}`, "--endpoint", wrong.url, "--model", "policy", "--out", join(folder, "b"));
    const compared = await run("compare", join(folder, "a"), join(folder, "b"), "--json");
    expect(JSON.parse(compared.out)).toMatchObject({
      settingsThatDiffer: [],
      benchmarks: {
        // Three of four worse: sign test 2·(1/8); of the 8 signs two are as far out.
        hotpotqa: {
          pairs: 4,
          unpaired: 0,
          a: 0.75,
          b: 0,
          difference: -0.75,
          sign: { wins: 0, losses: 3, ties: 1, p: expect.closeTo(0.25, 12) },
          permutation: { p: expect.closeTo(0.25, 12), exact: true },
        },
      },
    });
    const table = await run("compare", join(folder, "a"), join(folder, "b"));
    expect(table.out).toMatch(/hotpotqa\s+4\s+75\.0\s+0\.0\s+-75\.0\s+.*0\/3\/1\s+0\.2500\s+0\.2500/);
  });

  it("says what is missing or wrong before a model is loaded", async () => {
    const folder = await temporaryFolder();
    const file = await questions(folder, 1);
    const unnamed = join(folder, "rows.jsonl");
    await writeFile(unnamed, await readFile(file));
    await mkdir(join(folder, "empty"));
    const cases: readonly (readonly [readonly string[], RegExp])[] = [
      [[], /takes --bench NAME=FILE \(benchmarks\) or --data FILE/],
      [["--bench", file], /needs one policy: --model DIR, --run RUN, --config FILE, or --endpoint/],
      [["--bench", file, "--model", MODEL, "--run", "r"], /needs one policy/],
      [["--bench", "hotpotqq", "--model", MODEL], /neither a file nor a benchmark; did you mean "hotpotqa"\?/],
      [["--bench", "hotpotqa", "--model", MODEL], /names no file; give hotpotqa=FILE/],
      [
        ["--bench", "hotpotqa", "--bench-data", join(folder, "empty"), "--model", MODEL],
        /holds none of hotpotqa\.jsonl/,
      ],
      [["--bench", unnamed, "--model", MODEL], /its name is none of a benchmark/],
      [["--bench", file, file, "--model", MODEL], /"hotpotqa" is given twice/],
      [["--data", file, "--model", MODEL, "--out", "x"], /--out goes with --bench/],
      [["--bench", file, "--run", folder, "--step", "3"], /WEIR_E_FILE_MISSING/],
      [["compare", folder, folder], /holds no evaluation\.json/],
    ];
    for (const [args, message] of cases) {
      await expect(run(...args)).rejects.toThrow(message);
    }
  });
});
