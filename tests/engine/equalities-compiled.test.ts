/** The equalities on compiled graphs. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { EngineCore } from "../../src/model/engine/core.js";
import { tf } from "../../src/model/tensor/tf.js";
import { FAST_BACKEND, writeRandomModel } from "../helpers/engines.js";
import { randomGroups } from "../helpers/random-groups.js";
import { describeEqualities } from "./equalities-suite.js";

describe.runIf(FAST_BACKEND === "tensorflow")("compiled", () => {
  const options = { backend: "tensorflow", threads: 0, executor: "compiled" } as const;
  describeEqualities(options);

  it.each([
    ["keeps no prompt where the memory has no room beyond the model's own", 0.4, false],
    ["keeps a prompt where it has", 1, true],
  ])("%s", async (_, memoryGiB, keeps) => {
    const folder = await mkdtemp(join(tmpdir(), "weir-room-"));
    const core = await EngineCore.open(await writeRandomModel(folder), { ...options, memoryGiB });
    const [group] = randomGroups(31, [[600, [2]]]);
    const draw = async (forTraining: boolean) => {
      const prompts = [{ promptIds: group!.promptIds, seeds: [1] }];
      const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 2, stopIds: [] };
      await core.sample({ prompts, params, policy: null, forTraining }, new AbortController().signal);
      return tf.memory().numTensors;
    };
    const without = await draw(false);
    // A table holds its keys and values only while it draws; what is left over is the prompt.
    expect((await draw(true)) > without).toBe(keeps);
    core.dispose();
    await rm(folder, { recursive: true });
  });
});
