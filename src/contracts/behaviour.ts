/**
 * Ways of reasoning that are counted in responses, after QwenLong-L1 (Fig. 7): information is recalled from the document; the question is
 * split into smaller ones; an error is noticed and what was said is revised; a result is checked.
 */
export const BEHAVIOURS = ["grounding", "subgoal_setting", "backtracking", "verification"] as const;
export type Behaviour = (typeof BEHAVIOURS)[number];

/** Instances of each behaviour in one response. */
export type BehaviourCounts = Readonly<Record<Behaviour, number>>;

/** Where an instance shows, as a half-open interval: of characters in a text, of tokens in a trace. */
export interface BehaviourSpan {
  readonly behaviour: Behaviour;
  readonly start: number;
  readonly end: number;
}
