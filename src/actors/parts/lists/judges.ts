/** The built-in judges by the names that `reward.judge.actor` uses. A new one is a file of its own and a line here. */
import type { Judge } from "../../../contracts/judge.js";
import { createConfiguredJudge, createConfiguredLocalJudge } from "../../judge/configured-judge.js";
import { startJudgeEngine } from "../../judge/local-judge.js";
import type { BuiltInSource } from "./source.js";

export const openai = ({ config }: BuiltInSource): Judge => createConfiguredJudge(config.reward, config.run.seed);

/** Where no run is set up, such as in an evaluation, the judge plans for whatever memory is free. */
export function local({ config, embedded }: BuiltInSource): Judge {
  const { engine, reward } = config;
  const memoryGiB = embedded === null ? reward.judge.memoryGiB : embedded.judge.memoryGiB;
  return createConfiguredLocalJudge(reward, {
    engine: { ...engine, lora: null, memoryGiB },
    restartDelayMs: engine.restartDelayMs,
    start: embedded?.judge.start ?? startJudgeEngine,
  });
}
