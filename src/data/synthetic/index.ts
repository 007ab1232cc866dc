/** Long-document questions over real facts: the generator, its demonstrations, and the language of the demo. */
export { DEMO_CHAT_TEMPLATE, DEMO_RELATIONS, demoTokenizer } from "./demo-language.js";
export { type DemonstrationForm, type DemonstrationStyle, demonstration, demonstrationStyle } from "./demonstration.js";
export type { Split } from "./fact-book.js";
export { FAMILIES, type Family } from "./families.js";
export { generateTasks } from "./generate.js";
export type { LengthDial, Range, SyntheticOptions } from "./options.js";
export type { RelationName } from "./relations.js";
export { type VerlRow, verlRow } from "./verl-row.js";
export { type CorpusOptions, WarmstartCorpus, type WeightedText } from "./warmstart-corpus.js";
export {
  planBatches,
  WARMSTART_PLAN,
  type WarmstartPlan,
  type WarmstartRound,
  type WarmstartStage,
  warmstartRate,
} from "./warmstart-plan.js";
