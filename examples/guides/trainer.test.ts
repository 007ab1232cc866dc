import { describe, it } from "node:test";
import { describeTrainer } from "weir-rl/testing";
import { createSlowing } from "./trainer.js";

// One engine for all tests, which takes seconds to start; each test begins with the weights of the model folder.
const { dispose, ...trainer } = await createSlowing("model");
const { signal } = new AbortController();

describeTrainer({
  create: async () => {
    await trainer.loadState("model", { signal });
    await trainer.resetOptimiser({ signal });
    return trainer;
  },
  ids: [5, 6, 7, 8, 9, 10],
  framework: { describe, it },
});
it("is given up", async () => dispose?.());
