/** Options of `weir eval` as the command line has them. */
export interface EvalCommandOptions {
  readonly bench?: readonly string[];
  readonly benchData?: string;
  readonly data?: readonly string[];
  readonly model?: string;
  readonly run?: string;
  readonly step?: string;
  readonly endpoint?: string;
  readonly apiKeyEnv?: string;
  readonly tokenizer?: string;
  readonly concurrency: string;
  readonly timeoutS: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly processes?: string;
  readonly out?: string;
  readonly retryFailed?: boolean;
  readonly samples?: string;
  readonly limit?: string;
  readonly maxInput: string;
  readonly buckets?: string;
  readonly mode: string;
  readonly think?: boolean;
  readonly maxTokens?: string;
  readonly temperature?: string;
  readonly topP?: string;
  readonly perBucket?: string;
  readonly rows: string;
  readonly seed: string;
  readonly backend?: string;
  readonly reward: string;
  readonly judge?: string;
  readonly parts: readonly string[];
  readonly json?: boolean;
}
