/** A loss of the user's own in a whole run: it trains as the built-in of the same formula does, and its faults end the run. */
import { expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { BatchAdvantageActor } from "../../src/contracts/advantage.js";
import type { LossPart } from "../../src/contracts/loss.js";
import { createBuiltInLoss } from "../../src/losses/built-in.js";
import { lossSettings } from "../../src/losses/settings.js";
import { failure } from "../helpers/errors.js";
import { comparableFacts, parityReward, tinyConfig } from "./tiny-run.js";

const { evaluate, aggregation } = createBuiltInLoss("gspo", lossSettings("gspo"));
const own = (over: Partial<LossPart> = {}): LossPart => ({
  kind: "own",
  specificationVersion: 1,
  aggregation,
  evaluate,
  ...over,
});
const phases = [{ maxTokens: 300, steps: 2 }];

async function run(
  over: Parameters<typeof tinyConfig>[0],
  actors: { loss?: LossPart; advantage?: BatchAdvantageActor },
) {
  const config = await tinyConfig({ phases, ...over });
  const system = createTrainingSystem(config, { actors: { reward: parityReward, ...actors } });
  await system.start();
  return comparableFacts((await system.done).runDirectory);
}

it("trains bit for bit as the built-in loss whose formula it has", async () => {
  const builtIn = await run({ loss: { algorithm: "gspo" } }, {});
  const same = await run({}, { loss: own() });
  expect(builtIn.length).toBeGreaterThan(4);
  expect(same).toEqual(builtIn);
  expect(await run({}, {})).not.toEqual(builtIn);
});

it("ends the run by its code where the loss gives something else than a coefficient per token", async () => {
  const config = await tinyConfig({ phases });
  const short = own({
    evaluate: (sequences) => ({ value: 0, clipped: 0, clippedLower: 0, coefficients: sequences.map(() => [0]) }),
  });
  const system = createTrainingSystem(config, { actors: { reward: parityReward, loss: short } });
  const error = await failure(() => system.start().then(() => system.done), "WEIR_E_PART");
  expect(error.message).toMatch(/loss part.*gave 1 coefficients for sequence 0 of \d+ tokens/);
});

it("I7: refuses mini-batches where the loss is not finite, and says that nothing was trained", async () => {
  const config = await tinyConfig({ phases });
  const lost = own({
    evaluate: async (sequences) => ({ ...(await evaluate(sequences)), value: Number.NaN }),
  });
  const system = createTrainingSystem(config, { actors: { reward: parityReward, loss: lost } });
  const facts: string[] = [];
  system.facts$.subscribe(({ type }) => facts.push(type));
  await failure(() => system.start().then(() => system.done), "WEIR_E_NOTHING_TRAINED");
  expect(facts).toContain("step.committed");
});

it("an advantage that sees its batch is given rewards, tokens and entropies of every group", async () => {
  const seen: unknown[] = [];
  const batch: BatchAdvantageActor = {
    kind: "batch",
    specificationVersion: 2,
    async handle(groups) {
      for (const { members, phase, source } of groups) {
        for (const { tokenIds, entropies, samplerLogprobs, reward, parts } of members) {
          seen.push([phase, source, parts.parity === reward]);
          expect([entropies?.length, samplerLogprobs.length]).toEqual([tokenIds.length, tokenIds.length]);
        }
      }
      return groups.map(({ members }) => members.map(({ reward, tokenIds }) => tokenIds.map(() => reward - 0.5)));
    },
  };
  await run({}, { advantage: batch });
  expect(seen.length).toBeGreaterThan(4);
  expect(seen.every((one) => JSON.stringify(one) === '[1,"musique_0_64",true]')).toBe(true);
});

it("trains with each batch advantage and each loss", async () => {
  for (const actor of ["opo", "reinforce_pp", "reinforce_pp_baseline", "gdpo"])
    expect(await run({ advantage: { actor } }, {})).not.toEqual([]);
  for (const algorithm of ["sapo", "gmpo", "cispo", "dppo_tv", "dr_grpo", "reinforce"])
    expect(await run({ loss: { algorithm } }, {})).not.toEqual([]);
});
