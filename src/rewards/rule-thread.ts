/** The program of the threads that rules run in; started by rule-threads.ts only. Takes one response at a time. */
import { parentPort, workerData } from "node:worker_threads";
import type { RuleFunctionInput } from "../contracts/rule.js";
import { WeirError } from "../errors.js";
import type { FromThread } from "../system/killable-threads.js";
import { scoreByRule } from "./rule.js";
import { callRuleFunction, loadRuleFunction, type RuleEnd } from "./rule-function.js";
import type { RuleThreadData } from "./rule-threads.js";

const { module, options } = workerData as RuleThreadData;

function tell(message: FromThread<RuleEnd>): void {
  parentPort?.postMessage(message);
}

async function scorer(): Promise<(input: RuleFunctionInput) => Promise<RuleEnd>> {
  if (module === null) return async (input) => ({ kind: "result", result: scoreByRule(input, options) });
  const rule = await loadRuleFunction(module);
  return (input) => callRuleFunction(rule, input);
}

/** The outcome of a rule that threw: of the built-in ones, which throw only for a data source that they do not know. */
function failure(error: unknown): RuleEnd {
  const { code, message } = WeirError.isInstance(error) ? error : { code: "error", message: String(error) };
  return { kind: "failed", code, reason: message };
}

try {
  const score = await scorer();
  parentPort?.on("message", (input: RuleFunctionInput) => {
    score(input).then(
      (answer) => tell({ kind: "answer", answer }),
      (error: unknown) => tell({ kind: "answer", answer: failure(error) }),
    );
  });
  tell({ kind: "ready" });
} catch (error) {
  tell({ kind: "refused", reason: error instanceof Error ? error.message : String(error) });
}
