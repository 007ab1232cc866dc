/** Options of evaluations during training. */
import { z } from "zod";

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const coefficient = z.number().nonnegative();

export const evaluationSchema = z.strictObject({
  everySteps: nonNegativeInt
    .default(0)
    .describe("RL steps between held-out evaluations; 0 evaluates only before warm-up, after it and at the end."),
  atPhaseEnd: z.boolean().default(false).describe("Evaluate when a phase ends."),
  initial: z.boolean().default(true).describe("Evaluate before anything is trained."),
  tasksPerBucket: positiveInt.default(128).describe("Held-out tasks per length bucket, the first ones in file order."),
  temperature: coefficient.default(0).describe("Sampling temperature of evaluation; 0 is greedy (release: 0.7)."),
});
