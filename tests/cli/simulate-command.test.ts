import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { simulateCommand } from "../../src/cli/commands/simulate.js";
import { GroupBook } from "../../src/streams/group-book.js";
import { SMALL } from "../simulation/small-run.js";

let file: string;
let printed: string;
let noted: string;

beforeEach(async () => {
  [printed, noted] = ["", ""];
  const into = (take: (text: string) => void) => (text: string | Uint8Array) => {
    take(String(text));
    return true;
  };
  vi.spyOn(process.stdout, "write").mockImplementation(
    into((text) => {
      printed += text;
    }),
  );
  vi.spyOn(process.stderr, "write").mockImplementation(
    into((text) => {
      noted += text;
    }),
  );
  file = join(await mkdtemp(join(tmpdir(), "weir-simulate-")), "small.yaml");
  await writeFile(file, stringify(SMALL));
});

afterEach(() => {
  vi.restoreAllMocks();
});

const lastLine = () => JSON.parse(printed.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
const FIELDS = [
  ...["runs", "deadlocks", "invariant_violations", "max_lag", "stale_share", "steps_per_second"],
  ...["sampler_busy", "trainer_busy", "queue_high_water"],
];

describe("weir simulate", () => {
  it("needs neither model nor data, and ends with one line for programs", async () => {
    expect(await simulateCommand(file, { seeds: "1-3", set: [] })).toBe(0);
    expect(Object.keys(lastLine())).toEqual(FIELDS);
    expect(lastLine()).toMatchObject({ runs: 3, deadlocks: 0, invariant_violations: 0, max_lag: 0 });
    expect(printed).toMatch(/^samplers busy +\d+\.\d %$/m);
  });

  it("prints that line alone with --json, and runs one seed where one is given", async () => {
    expect(await simulateCommand(file, { seeds: "7", set: ["simulation.samplers=3"], json: true })).toBe(0);
    expect(printed.trimEnd().split("\n")).toHaveLength(1);
    expect(lastLine()).toMatchObject({ runs: 1 });
  });

  it("takes latencies and faults from the command line", async () => {
    const slow = ["simulation.latencies.sampleCall={uniform: [900, 1000]}"];
    await simulateCommand(file, { seeds: "1", set: slow, json: true });
    const slowSteps = lastLine().steps_per_second as number;
    await simulateCommand(file, { seeds: "1", set: [], json: true });
    expect(lastLine().steps_per_second).toBeGreaterThan(10 * slowSteps);
    await expect(simulateCommand(file, { seeds: "1", set: [], faults: "2" })).rejects.toThrow(/--faults/);
    const wrong = ["simulation.latencies.reward={unifom: [1, 2]}"];
    await expect(simulateCommand(file, { seeds: "1", set: wrong })).rejects.toThrow(
      /option "simulation.latencies.reward": must be a number, or one of \{ uniform/,
    );
  });

  it("ends with 1 where it found a deadlock, and says how to replay it", async () => {
    vi.spyOn(GroupBook.prototype, "end").mockReturnValue(null);
    expect(await simulateCommand(file, { seeds: "4-5", set: ["rollout.groupSize=2"], json: true })).toBe(1);
    expect(lastLine()).toMatchObject({ runs: 2, deadlocks: 2 });
    expect(noted).toMatch(/^seed 4: deadlock: nothing is left that could happen; lifecycle training/m);
    const replay = `  replay: weir simulate ${file} --seeds 4 --faults 0 --set rollout.groupSize=2 --trace`;
    expect(noted.split("\n")).toContain(replay);
  });

  it("prints the event log of a seed with --trace", async () => {
    await simulateCommand(file, { seeds: "1", set: [], trace: true, json: true });
    expect(printed).toMatch(/^0\.000 s life 0 begins\n/);
    expect(printed).toMatch(/^\d+\.\d{3} s ledger s1-q0-g0 issued$/m);
    expect(printed).toMatch(/^\d+\.\d{3} s fact step\.committed, step 6$/m);
  });
});
