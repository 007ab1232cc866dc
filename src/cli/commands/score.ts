/**
 * `weir score`: scores responses by rule, one JSON line in, one JSON line out. Nothing is printed unless every line is valid.
 */

import { type Command, Option } from "commander";
import { z } from "zod";
import { REWARD_MODES, type RewardMode } from "../../contracts/reward.js";
import { openBytes } from "../../data/compression.js";
import type { Cell, Row } from "../../data/exact.js";
import { shown } from "../../data/faults.js";
import { goldSentences } from "../../data/golds.js";
import { openFile, type TextLine, textLines } from "../../data/lines.js";
import { parseJson } from "../../data/parse-json.js";
import { recordOf } from "../../data/prompt-parts.js";
import { WeirError } from "../../errors.js";
import { ruleOutcome, scoreByRule } from "../../rewards/rule.js";
import { withoutEndText } from "../../rewards/text.js";
import { checkShape } from "../load-json.js";
import { type ExitCode, print } from "../output.js";

export interface ScoreOptions {
  readonly mode: RewardMode;
  /** File name, or - for standard input. */
  readonly in: string;
  /** False with `--no-require-think`. */
  readonly requireThink: boolean;
}

const lineSchema = z.object({ data_source: z.string(), response: z.string() });

/** A line of the result. `score` is null unless the outcome is `scored`. */
export interface ScoredLine {
  readonly score: number | null;
  readonly outcome: string;
  readonly pred: string | null;
  /** Why there is no score. */
  readonly reason?: string;
}

/** Scores a JSON line; null for a blank one. Errors: WEIR_E_DATA and WEIR_E_REWARD_SOURCE, both naming the line (from 1). */
export function scoreLine(line: TextLine, file: string, options: Omit<ScoreOptions, "in">): ScoredLine | null {
  if (line.text.trim() === "") return null;
  const where = `${file} line ${line.number}`;
  const record = parseRecord(line.text, where);
  const { data_source: source, response } = checkShape(record, where, lineSchema);
  const goldAnswers = goldsOf(record.ground_truth, where);
  try {
    const result = scoreByRule({ source, response: withoutEndText(response), goldAnswers }, options);
    const outcome = ruleOutcome(result, options.mode);
    if (outcome.kind === "scored") return { score: outcome.value, outcome: outcome.kind, pred: outcome.prediction };
    return { score: null, outcome: outcome.kind, pred: result.prediction, reason: outcome.reason };
  } catch (error) {
    if (!WeirError.isInstance(error)) throw error;
    const reason = error.message.slice(error.code.length + 2);
    throw new WeirError(error.code, `${where}: ${reason}`, { ...error.details, line: line.number });
  }
}

function parseRecord(text: string, where: string): Row {
  let value: Cell;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new WeirError("WEIR_E_DATA", `expected JSON in ${where}, got ${(cause as Error).message}`, {}, { cause });
  }
  const record = typeof value === "string" ? null : recordOf(value);
  if (record === null)
    throw new WeirError("WEIR_E_DATA", `expected a JSON object in ${where}, got ${shown(value)}`, {});
  return record;
}

/** A ground truth is a gold sentence, a number, or a list of these; no rule reads an empty text. */
function goldsOf(cell: Cell | undefined, where: string): string[] {
  return cell === "" ? [""] : goldSentences(cell, { file: where, column: "ground_truth" }, "sentence");
}

/** Reads, scores and prints; resolves to the exit code. */
export async function scoreCommand(options: ScoreOptions): Promise<ExitCode> {
  const fromStdin = options.in === "-";
  const name = fromStdin ? "standard input" : `"${options.in}"`;
  const source = fromStdin ? await openBytes(name, process.stdin) : await openFile(options.in);
  const scored: ScoredLine[] = [];
  for await (const line of textLines(name, source.chunks)) {
    const result = scoreLine(line, name, options);
    if (result !== null) scored.push(result);
  }
  for (const line of scored) print(JSON.stringify(line));
  return 0;
}

export function register(program: Command): void {
  program
    .command("score")
    .description("score responses by the rules of the paper or of the release, one JSON line each")
    .addOption(new Option("--mode <mode>", "whose rules").choices(REWARD_MODES).default("paper"))
    .requiredOption(
      "--in <file>",
      "JSON lines with data_source, response, ground_truth (text, number or list); - reads standard input",
    )
    .option("--no-require-think", "use the whole response where it has no </think>")
    .option("--json", "accepted for uniformity; the output is always JSON lines")
    .addHelpText(
      "after",
      "\nEach line out: score (null unless scored), outcome, pred." +
        "\nExit codes: 0 scored, 1 unknown data source, 2 wrong usage or missing file, 3 a malformed line.",
    )
    .action(async (options: ScoreOptions) => {
      process.exitCode = await scoreCommand(options);
    });
}
