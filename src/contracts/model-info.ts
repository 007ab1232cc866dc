/** What is told of a model that is trained or sampled from. */
export interface ModelInfo {
  readonly family: "qwen2" | "qwen3" | "llama";
  readonly parameters: number;
  /** Parameters that training moves: all of them, or those of the adapters. */
  readonly trainedParameters: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly stopIds: readonly number[];
  readonly padId: number;
}
