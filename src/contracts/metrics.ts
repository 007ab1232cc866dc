/** One registered metric name; unknown names are refused. */
export interface MetricDefinition {
  readonly name: string;
  readonly unit: string;
  readonly meaning: string;
}

/** Scalars of one step, by registered name. */
export interface MetricRecord {
  readonly step: number;
  readonly phase: number;
  readonly time: number;
  readonly values: Readonly<Record<string, number>>;
}
