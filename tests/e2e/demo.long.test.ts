import { spawn } from "node:child_process";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { locateNative } from "../../src/model/tensor/native/index.js";
import { endStates } from "./tiny-run.js";

interface Report {
  readonly seed: number;
  readonly engine: { readonly backend: string };
  readonly heldout: Record<string, Record<string, { readonly n: number; readonly correct: number }>>;
  readonly seconds: Record<string, number>;
}

function demo(folder: string): Promise<{ code: number | null; text: string }> {
  const args = ["--import", "tsx", "src/cli/main.ts", "demo", "--exit", "--json", "--seed", "7", "--out", folder];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  return new Promise((resolve) => child.on("exit", (code) => resolve({ code, text })));
}

describe("the demo", () => {
  it("learns: phased RL lifts held-out accuracy in the longest bucket by 15 points or more over SFT alone", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-demo-"));
    const { code, text } = await demo(folder);
    expect(code).toBe(0);
    const { status, runDirectory } = JSON.parse(text) as { status: string; runDirectory: string };
    expect(status).toBe("completed");
    const report = JSON.parse(await readFile(join(runDirectory, "report.json"), "utf8")) as Report;
    expect(report.seed).toBe(7);
    expect(Object.keys(report.heldout)).toEqual(["before", "sft", "rl"]);
    const buckets = Object.keys(report.heldout.sft ?? {});
    expect(buckets).toHaveLength(4);
    const ends = await endStates(runDirectory);
    expect(ends.size).toBeGreaterThan(0);
    if (!locateNative().found) return;
    expect(report.engine.backend).toBe("tensorflow");
    const accuracy = (stage: string, bucket: string) => {
      const { n, correct } = report.heldout[stage]?.[bucket] ?? { n: 0, correct: 0 };
      expect(n).toBeGreaterThanOrEqual(100);
      return (100 * correct) / n;
    };
    const longest = buckets.at(-1) as string;
    expect(accuracy("rl", longest) - accuracy("sft", longest)).toBeGreaterThanOrEqual(15);
    expect(report.seconds.total).toBeLessThan(480);
  }, 1_800_000);
});
