import { jsonRecord, type Row } from "../exact.js";
import { cellFault, type RowPlace } from "../faults.js";
import { goldSentences } from "../golds.js";
import { messagesOf, refuseUnreadColumns } from "../messages.js";
import { documentOf, recordOf } from "../prompt-parts.js";
import { cellAt, hasColumns, optionalRecord, type TaskFormat, text, type UnnamedTask, withoutNulls } from "./format.js";

/** Training rows as verl has them. */
export const VERL: TaskFormat = {
  columns: "verl (data_source, prompt, reward_model)",
  rank: 1,
  fits: (row) => hasColumns(row, "prompt") && (hasColumns(row, "reward_model") || hasColumns(row, "data_source")),
  read: readVerl,
};

function readVerl(row: Row, place: RowPlace): UnnamedTask {
  const { data_source: _source, prompt, reward_model: rewardModel, extra_info: _extra, ability, ...others } = row;
  const source = text(row, "data_source", place);
  refuseUnreadColumns(row, place);
  const messages = messagesOf(prompt, cellAt(place, "prompt"), true);
  const reward = recordOf(rewardModel);
  if (reward === null) throw cellFault(cellAt(place, "reward_model"), "a struct with ground_truth", rewardModel);
  const goldAnswers = goldSentences(reward.ground_truth, cellAt(place, "reward_model.ground_truth"), "sentence");
  const extra = optionalRecord(row, "extra_info", place, "a struct");
  const index = typeof extra.index === "number" ? extra.index : 0;
  return {
    id: null,
    index,
    messages,
    document: documentOf(messages),
    goldAnswers,
    source,
    promptTokens: 0,
    meta: withoutNulls(jsonRecord({ ...others, ...extra, ability: ability ?? null, index })),
  };
}
