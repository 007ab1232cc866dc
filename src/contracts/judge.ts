/** A question to the judge: are the two answers equivalent? The document is not sent. */
export interface JudgeQuery {
  readonly problem: string;
  readonly prediction: string;
  readonly gold: string;
}

export type JudgeVerdict =
  | { readonly kind: "verdict"; readonly value: 0 | 1; readonly reply: string }
  | { readonly kind: "timedOut"; readonly afterMs: number; readonly reason: string }
  | { readonly kind: "failed"; readonly code: string; readonly reason: string };

/** Decides equivalence (Eq. 13). Faults of the remote side are verdicts, never rejections. */
export interface Judge {
  readonly kind: string;
  readonly specificationVersion: 1;
  ask(query: JudgeQuery, options: { readonly signal: AbortSignal }): Promise<JudgeVerdict>;
  dispose?(): Promise<void> | void;
}
