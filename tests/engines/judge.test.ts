/**
 * A local judge and real servers with the same model as judges, at temperature 0. vLLM in float32 gives the local judge's verdict wherever the
 * two likeliest tokens of the reply are apart; a quantised server's agreement is reported (`WEIR_JUDGE_REPORT=FILE` gets the figures).
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  AGREEMENT,
  agreementOf,
  countsOf,
  localJudge,
  marginsOf,
  servedJudge,
  verdictsOf,
} from "../../bench/judge-agreement.js";
import { JUDGED_QUESTIONS } from "../../bench/judge-questions.js";
import type { JudgeVerdict } from "../../src/contracts/judge.js";
import { folderOfFile, notInstalled, SMOLLM2, startLlama, startVllm } from "./servers.js";

/** Least difference of the two likeliest tokens with which two float32 engines have to choose the same, nats. */
const MARGIN = 1e-3;
/** Least share of the questions that each verdict holds: otherwise agreement says nothing. */
const LEAST_SHARE = 0.1;
/** Most replies that may be cut at their greatest length, a share: a small model repeats itself at times. */
const MOST_CUT = 0.1;
const TEMPLATE = readFileSync(join("bench", "judge-template.txt"), "utf8");

const folder = folderOfFile();
const options = { ...AGREEMENT, path: SMOLLM2 ?? "" };
const valueIn = (verdict: JudgeVerdict | undefined) => (verdict?.kind === "verdict" ? verdict.value : verdict?.kind);

function report(name: string, figures: object): void {
  const file = process.env.WEIR_JUDGE_REPORT;
  if (file !== undefined) appendFileSync(resolve(file), `${JSON.stringify({ name, ...figures })}\n`);
}

describe.skipIf(SMOLLM2 === null)("SmolLM2-135M-Instruct as judge", () => {
  let local: readonly JudgeVerdict[] = [];
  beforeAll(async () => {
    const judge = localJudge(options);
    local = await verdictsOf(judge, JUDGED_QUESTIONS);
    await judge.dispose?.();
    report("local", countsOf(local));
  });

  it("gives each verdict to a tenth of the questions at least, and to nearly all of them one", () => {
    const { yes, no, none } = countsOf(local);
    expect(JUDGED_QUESTIONS.length).toBe(200);
    expect(none).toBeLessThanOrEqual(MOST_CUT * JUDGED_QUESTIONS.length);
    expect(Math.min(yes, no)).toBeGreaterThanOrEqual(LEAST_SHARE * JUDGED_QUESTIONS.length);
  });

  it.skipIf(notInstalled("vllm"))("gives vLLM's verdict in float32 wherever the reply is decided", async () => {
    const modelOptions = { adapters: 0, dtype: "float32", options: ["--logprobs-mode", "raw_logprobs"] } as const;
    const server = await startVllm({ model: SMOLLM2 as string, name: "judge", folder, ...modelOptions });
    const at = { url: `${server.url}/v1`, model: "judge" };
    const judge = servedJudge(options, at);
    const served = await verdictsOf(judge, JUDGED_QUESTIONS);
    await judge.dispose?.();
    const margins = await marginsOf(options, at, JUDGED_QUESTIONS, TEMPLATE);
    const decided = JUDGED_QUESTIONS.flatMap((_, question) => ((margins[question] ?? 0) > MARGIN ? [question] : []));
    report("vllm", { ...countsOf(served), decided: decided.length, agreement: agreementOf(local, served) });
    const differing = decided.filter((question) => valueIn(served[question]) !== valueIn(local[question]));
    expect(differing.map((question) => JUDGED_QUESTIONS[question])).toEqual([]);
    expect(decided.length).toBeGreaterThan(0.9 * JUDGED_QUESTIONS.length);
  });

  it.skipIf(notInstalled("llama"))(
    "is asked on llama.cpp's server through the same client, with fewer bits",
    async () => {
      const server = await startLlama({ folder });
      const judge = servedJudge(options, { url: `${server.url}/v1`, model: "judge" });
      const served = await verdictsOf(judge, JUDGED_QUESTIONS);
      await judge.dispose?.();
      const agreement = agreementOf(local, served);
      report("llama", { ...countsOf(served), agreement });
      expect(countsOf(served).none).toBeLessThanOrEqual(MOST_CUT * JUDGED_QUESTIONS.length);
      expect(agreement).toBeGreaterThan(0.5);
    },
  );
});
