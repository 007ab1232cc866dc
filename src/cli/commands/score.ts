/**
 * `weir score`: scores responses by rule, one JSON line in, one JSON line out. Nothing is printed unless every line is good.
 */
import { text } from "node:stream/consumers";
import { type Command, Option } from "commander";
import { z } from "zod";
import { WeirError } from "../../errors.js";
import { type RewardMode, ruleOutcome, scoreByRule } from "../../rewards/rule.js";
import { withoutEndText } from "../../rewards/text.js";
import { parseJsonLines, readText } from "../load-json.js";
import { type ExitCode, print } from "../output.js";

export interface ScoreOptions {
  readonly mode: RewardMode;
  /** File name, or - for standard input. */
  readonly in: string;
  /** False with `--no-require-think`. */
  readonly requireThink: boolean;
}

const lineSchema = z.object({ data_source: z.string(), response: z.string(), ground_truth: z.string() });

/** A line of the result. `score` is null unless the outcome is `scored`. */
export interface ScoredLine {
  readonly score: number | null;
  readonly outcome: string;
  readonly pred: string | null;
  /** Why there is no score. */
  readonly reason?: string;
}

/** Scores JSON lines. Errors: WEIR_E_DATA and WEIR_E_REWARD_SOURCE, both naming the line (from 1). */
export function scoreLines(lines: string, where: string, options: Omit<ScoreOptions, "in">): ScoredLine[] {
  return parseJsonLines(lines, where, lineSchema).map(({ value, number }) => {
    try {
      const result = scoreByRule(
        { source: value.data_source, response: withoutEndText(value.response), goldAnswers: [value.ground_truth] },
        options,
      );
      const outcome = ruleOutcome(result, options.mode);
      if (outcome.kind === "scored") return { score: outcome.value, outcome: outcome.kind, pred: outcome.prediction };
      return { score: null, outcome: outcome.kind, pred: result.prediction, reason: outcome.reason };
    } catch (error) {
      if (!WeirError.isInstance(error)) throw error;
      const reason = error.message.slice(error.code.length + 2);
      throw new WeirError(error.code, `${where} line ${number}: ${reason}`, { ...error.details, line: number });
    }
  });
}

/** Reads, scores and prints; resolves to the exit code. */
export async function scoreCommand(options: ScoreOptions): Promise<ExitCode> {
  const fromStdin = options.in === "-";
  const lines = fromStdin ? await text(process.stdin) : await readText(options.in);
  for (const line of scoreLines(lines, fromStdin ? "standard input" : `"${options.in}"`, options)) {
    print(JSON.stringify(line));
  }
  return 0;
}

export function register(program: Command): void {
  program
    .command("score")
    .description("score responses by the rules of the paper or of the release, one JSON line each")
    .addOption(new Option("--mode <mode>", "whose rules").choices(["paper", "released"]).default("paper"))
    .requiredOption("--in <file>", "JSON lines with data_source, response, ground_truth; - reads standard input")
    .option("--no-require-think", "take the whole response where it has no </think>")
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
