/** The released rules against what the release itself gave for 7,200 made cases (tests/fixtures/released/README.md). */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ruleOutcome, scoreByRule } from "../../src/rewards/rule.js";

type Recorded = [
  source: string,
  response: string,
  gold: string,
  score: number | string,
  pred: string | null,
  parsedGold: string | null,
];

const file = new URL("../fixtures/released/rules.jsonl.gz", import.meta.url);
const recorded = gunzipSync(readFileSync(file))
  .toString("utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Recorded);
const released = { mode: "released", requireThink: true } as const;

describe("the released rules on recorded cases", () => {
  it("has 2,400 cases of each family, right and wrong ones, and ground truths without an answer", () => {
    const count = (part: string, score?: (value: number | string) => boolean) =>
      recorded.filter(([source, , , value]) => source.includes(part) && (score?.(value) ?? true)).length;
    expect([count("docmath"), count("long_toc_choices"), count("musique") + count("multihoprag")]).toEqual([
      2400, 2400, 2400,
    ]);
    for (const part of ["docmath", "long_toc_choices", "musique", "multihoprag"]) {
      expect(count(part, (value) => value === 1)).toBeGreaterThan(200);
    }
    expect(count("", (value) => typeof value === "string")).toBeGreaterThan(200);
  });

  it("gives every score, parsed response and parsed ground truth of the release", () => {
    const differing: unknown[] = [];
    for (const [source, response, gold, score, prediction, parsedGold] of recorded) {
      const result = scoreByRule({ source, response, goldAnswers: [gold] }, released);
      const raises = typeof score === "string";
      const same =
        result.score === (raises ? 0 : score) &&
        result.prediction === prediction &&
        result.gold === (raises ? null : parsedGold) &&
        ruleOutcome(result, "released").kind === "scored";
      if (!same) differing.push({ source, response, gold, score, prediction, result });
    }
    expect(differing).toEqual([]);
  });
});
