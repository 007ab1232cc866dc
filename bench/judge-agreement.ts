/**
 * How a local judge and a judge over a server agree on 200 questions with known verdicts, at temperature 0.
 * Usage: tsx bench/judge-agreement.ts --path FOLDER [--url URL --model NAME] [--questions N]; the address ends in /v1. Prints JSON.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createConfiguredJudge, createConfiguredLocalJudge } from "../src/actors/judge/configured-judge.js";
import { startJudgeEngine } from "../src/actors/judge/local-judge.js";
import { configSchema } from "../src/config/schema.js";
import type { Judge, JudgeVerdict } from "../src/contracts/judge.js";
import type { RewardMode } from "../src/contracts/reward.js";
import { judgePrompt } from "../src/rewards/judge/prompt.js";
import { JUDGED_QUESTIONS, type JudgedQuestion } from "./judge-questions.js";

/** A prompt with examples: without them a model of 135 million parameters does not keep to the form. */
const TEMPLATE_FILE = fileURLToPath(new URL("./judge-template.txt", import.meta.url));

export interface AgreementOptions {
  /** Folder of the local judge. */
  readonly path: string;
  /** Whose reading of replies: the release's makes a verdict of every reply, which a small model needs. */
  readonly mode: RewardMode;
  readonly maxTokens: number;
  readonly concurrency: number;
}

export const AGREEMENT: Omit<AgreementOptions, "path"> = { mode: "released", maxTokens: 24, concurrency: 8 };

function configOf({ path, mode, maxTokens, concurrency }: AgreementOptions, judge: object = {}) {
  const deadlines = { timeoutMs: 600_000, groupTimeoutMs: 3_600_000 };
  return configSchema.parse({
    model: { path },
    data: { train: ["none"] },
    reward: {
      mode,
      judge: { path, maxTokens, concurrency, ...deadlines, template: TEMPLATE_FILE, cache: { maxBytes: 0 }, ...judge },
    },
  });
}

export function localJudge(options: AgreementOptions): Judge {
  const { reward, engine } = configOf(options);
  return createConfiguredLocalJudge(reward, {
    engine: { ...engine, lora: null },
    restartDelayMs: engine.restartDelayMs,
    start: startJudgeEngine,
  });
}

/** The judge over a server; `url` ends in /v1. */
export function servedJudge(
  options: AgreementOptions,
  server: { readonly url: string; readonly model: string },
): Judge {
  return createConfiguredJudge(configOf(options, server).reward, 1);
}

/** Verdicts of all questions, in their order. */
export function verdictsOf(judge: Judge, questions: readonly JudgedQuestion[]): Promise<readonly JudgeVerdict[]> {
  const { signal } = new AbortController();
  return Promise.all(questions.map((question) => judge.ask(question, { signal })));
}

/** Number of questions with each verdict, and without one. */
export function countsOf(verdicts: readonly JudgeVerdict[]): Readonly<Record<"yes" | "no" | "none", number>> {
  const count = (value: 0 | 1) => verdicts.filter((one) => one.kind === "verdict" && one.value === value).length;
  return { yes: count(1), no: count(0), none: verdicts.filter(({ kind }) => kind !== "verdict").length };
}

/** Share of the questions on which both gave a verdict, that on which it is the same; null where there is none. */
export function agreementOf(first: readonly JudgeVerdict[], second: readonly JudgeVerdict[]): number | null {
  const both = first.flatMap((one, at) => {
    const other = second[at];
    return one.kind === "verdict" && other?.kind === "verdict" ? [one.value === other.value] : [];
  });
  return both.length === 0 ? null : both.filter(Boolean).length / both.length;
}

interface Logprobs {
  readonly choices: readonly {
    readonly logprobs: {
      readonly content: readonly { readonly top_logprobs: readonly { readonly logprob: number }[] }[];
    };
  }[];
}

/**
 * Smallest difference of the two likeliest tokens over the reply to each question, nats, as the server has it: where it exceeds the
 * difference of two engines, greedy replies are the same.
 */
export async function marginsOf(
  { mode, maxTokens }: AgreementOptions,
  { url, model }: { readonly url: string; readonly model: string },
  questions: readonly JudgedQuestion[],
  template: string,
): Promise<readonly number[]> {
  const prompt = judgePrompt({ mode, template, maxPredictionChars: 8_000 });
  const margins: number[] = [];
  for (const question of questions) {
    const body = { model, messages: prompt.messages(question), temperature: 0, max_tokens: maxTokens };
    const response = await fetch(`${url}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...body, logprobs: true, top_logprobs: 2 }),
    });
    if (!response.ok) throw new Error(`${url} answered with status ${response.status}: ${await response.text()}`);
    const { choices } = (await response.json()) as Logprobs;
    const steps = choices[0]?.logprobs.content ?? [];
    const differences = steps.map(({ top_logprobs: [first, second] }) =>
      first === undefined || second === undefined ? Number.POSITIVE_INFINITY : Math.abs(first.logprob - second.logprob),
    );
    margins.push(Math.min(...differences));
  }
  return margins;
}

async function timed(judge: Judge, questions: readonly JudgedQuestion[]) {
  await judge.connect?.({ signal: new AbortController().signal });
  const started = performance.now();
  const verdicts = await verdictsOf(judge, questions);
  const seconds = (performance.now() - started) / 1000;
  await judge.dispose?.();
  const right = verdicts.filter(
    (one, at) => one.kind === "verdict" && (one.value === 1) === questions[at]?.equal,
  ).length;
  return { verdicts, report: { ...countsOf(verdicts), right, seconds: Number(seconds.toFixed(1)) } };
}

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({ options: { path: text, url: text, model: text, questions: text } });
  const { path, url, model = "" } = values;
  if (path === undefined) throw new Error("expected --path FOLDER, the model of the local judge");
  const questions = JUDGED_QUESTIONS.slice(0, Number(values.questions ?? JUDGED_QUESTIONS.length));
  const options = { ...AGREEMENT, path };
  const local = await timed(localJudge(options), questions);
  const served = url === undefined ? null : await timed(servedJudge(options, { url, model }), questions);
  const agreement = served && agreementOf(local.verdicts, served.verdicts);
  const report = { questions: questions.length, local: local.report, served: served?.report ?? null, agreement };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
