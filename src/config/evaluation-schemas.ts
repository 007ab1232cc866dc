/** Options of evaluations during training. */
import { z } from "zod";

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const coefficient = z.number().nonnegative();

const benchmarkSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,64}$/, "expected letters, digits, _, . or -")
    .describe("Name of the benchmark part, such as `hotpotqa`, or your own; each at most once."),
  file: z.string().min(1).describe("File of its rows."),
  samples: positiveInt.default(1).describe("Responses per question."),
  perBucket: positiveInt
    .nullable()
    .default(32)
    .describe("Questions per length bucket, the first in file order; null asks all."),
  temperature: coefficient.default(0.7).describe("Sampling temperature of its responses (release: 0.7); 0 is greedy."),
  topP: z.number().gt(0).max(1).default(0.95).describe("Nucleus mass of its responses (release: 0.95)."),
});

export const evaluationSchema = z.strictObject({
  everySteps: nonNegativeInt
    .default(0)
    .describe("RL steps between held-out evaluations; 0 evaluates only before warm-up, after it and at the end."),
  atPhaseEnd: z.boolean().default(false).describe("Evaluate when a phase ends."),
  initial: z.boolean().default(true).describe("Evaluate before anything is trained."),
  tasksPerBucket: positiveInt.default(128).describe("Held-out tasks per length bucket, the first ones in file order."),
  temperature: coefficient.default(0).describe("Sampling temperature of evaluation; 0 is greedy (release: 0.7)."),
  benchmarks: z
    .array(benchmarkSchema)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, "each benchmark at most once")
    .default([])
    .describe("Benchmarks that are evaluated whenever the held-out tasks are, or would be."),
});
