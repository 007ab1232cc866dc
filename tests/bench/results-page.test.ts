import { describe, expect, it } from "vitest";
import {
  gainSpread,
  type RunRecord,
  smallSection,
  smollm2Section,
  spread,
  withSection,
} from "../../bench/results-page.js";

const machine = { cores: 2, model: "Some CPU" };
const gibibyte = 2 ** 30;

/** A run of two buckets of 64 tasks; `correct` is before, after SFT, after RL in the longest. */
function runOf(
  seed: number,
  correct: readonly [number, number, number],
  peak: number | null = 6 * gibibyte,
): RunRecord {
  const stage = (longest: number) => ({
    "1-384": { n: 64, correct: 32 },
    "385-1152": { n: 64, correct: longest },
  });
  return {
    seed,
    engine: { backend: "tensorflow", executor: "compiled", version: "2.21.0" },
    model: { parameters: 134_515_008 },
    heldout: { before: stage(correct[0]), sft: stage(correct[1]), rl: stage(correct[2]) },
    seconds: {
      "evaluation/before": 60,
      warmup: 200,
      "evaluation/sft": 70,
      training: 1200,
      "evaluation/rl": 70,
      total: 1600,
    },
    steps: { warmup: 60, rl: 80 },
    memory: { enginePeakBytes: peak, controlPeakBytes: gibibyte },
    wallSeconds: 1700 + seed,
  };
}

describe("means over seeds", () => {
  it("carry the 95 % t interval; a single seed stands alone", () => {
    // t quantile with 2 degrees of freedom 4.3027, standard deviation 10, so 10 · 4.3027 / √3 = 24.84.
    expect(spread([10, 20, 30])).toBe("20.0 [-4.8, 44.8]");
    expect(spread([12.34])).toBe("12.3");
  });

  it("of gains stay within −100 to 100", () => {
    // The same half width on the logit scale of (gain + 100) / 200: u = 0.95, logit(0.95) ± 0.1242 / 0.0475.
    expect(gainSpread([80, 90, 100])).toBe("90.0 [16.3, 99.2]");
    expect(gainSpread([-100, -100])).toBe("-100.0 [-100.0, -100.0]");
    expect(gainSpread([12.34])).toBe("12.3");
  });
});

describe("the section of the pretrained model", () => {
  it("gives each bucket's means, and each seed's figures of the longest bucket", () => {
    const section = smollm2Section(
      [{ recipe: "smollm2", runs: [runOf(1, [0, 16, 48]), runOf(2, [0, 16, 32])] }],
      machine,
    );
    expect(section).toMatch(/^## A pretrained model\n\n/);
    expect(section).toContain("--recipe smollm2 --seeds 1,2`");
    expect(section).toContain("134.5 M parameters");
    expect(section).toContain("bfloat16");
    // 48 of 64 and 32 of 64 right: 75 and 50 %, mean 62.5; t quantile with 1 degree of freedom 12.706 · 17.68 / √2 = 158.8,
    // on the logit scale 0.5108 ± 1.588 / 0.2344. Of the first stage 0 of 128 are right: Wilson's upper end is 3.841 / 131.841.
    expect(section).toContain("| 385-1152 | 0.0 [0.0, 2.9] | 25.0 [25.0, 25.0] | 62.5 [0.2, 99.9] |");
    expect(section).toContain("| 1 | 0.0 | 25.0 | 75.0 | 50.0 | 1701 | 6.0 |");
    expect(section).toContain("| 2 | 0.0 | 25.0 | 50.0 | 25.0 | 1702 | 6.0 |");
    expect(section).toContain("200 [200, 200] in 60 warm-up steps");
    expect(section).toContain("1200 [1200, 1200] in 80 RL steps, 200 [200, 200] in the three evaluations");
    expect(section.endsWith("\n")).toBe(true);
  });

  it("can be written of one seed, and where the memory is not known", () => {
    const section = smollm2Section([{ recipe: "smollm2", runs: [runOf(7, [0, 16, 48], null)] }], machine);
    expect(section).toContain("| 385-1152 | 0.0 | 25.0 | 75.0 | 50.0 |");
    expect(section).toContain("| 7 | 0.0 | 25.0 | 75.0 | 50.0 | 1707 | not known |");
  });
});

describe("recipes of the pretrained model", () => {
  it("are compared with each other in the longest bucket", () => {
    const arms = [
      { recipe: "smollm2", runs: [runOf(1, [0, 16, 48])] },
      { recipe: "smollm2-full", runs: [runOf(1, [0, 8, 56])] },
    ] as const;
    const section = smollm2Section([...arms], machine);
    expect(section).toContain("| adapters | `smollm2` | 1 | 25.0 | 75.0 | 50.0 | 1701 |");
    expect(section).toContain("| all weights | `smollm2-full` | 1 | 12.5 | 87.5 | 75.0 | 1701 |");
    expect(smollm2Section([arms[0]], machine)).not.toContain("all weights");
  });
});

describe("the section of the small demo", () => {
  it("compares RL with as many more SFT steps", () => {
    const section = smallSection([runOf(1, [0, 16, 48])], [runOf(1, [0, 8, 8])], machine);
    expect(section).toMatch(/^## The demo\n\n/);
    expect(section).toContain("| 385-1152 | 0.0 | 25.0 | 75.0 | 50.0 | 12.5 | -12.5 |");
    expect(section).toContain("seed 1: 25.0 → 75.0 (more SFT: 12.5).");
  });
});

describe("the page of results", () => {
  const demo = "## The demo\n\nOne table.\n";
  const model = "## A pretrained model\n\nAnother.\n";

  it("begins with its title, and grows by a section", () => {
    expect(withSection("", demo)).toBe(`# Results\n\n${demo}`);
    expect(withSection(`# Results\n\n${demo}`, model)).toBe(`# Results\n\n${demo}\n${model}`);
  });

  it("takes a section's new text and leaves the others as they are, wherever it stands", () => {
    const page = `# Results\n\n${demo}\n${model}`;
    const anew = "## The demo\n\nA newer table.\n\n| a |\n";
    expect(withSection(page, anew)).toBe(`# Results\n\n${anew}\n${model}`);
    const newer = "## A pretrained model\n\nNewer.\n";
    expect(withSection(page, newer)).toBe(`# Results\n\n${demo}\n${newer}`);
    expect(withSection(page, model)).toBe(page);
  });
});
