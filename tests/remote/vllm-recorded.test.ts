/**
 * The contract's suite over exchanges that were recorded from a real vLLM (`npm run test:engines` with WEIR_RECORD=FOLDER records them
 * anew): what the sampler sends is what that server understood.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { createVllmSampler } from "../../src/remote/vllm/vllm.js";
import { describeSampler } from "../../src/testing.js";
import { writeRandomModel } from "../helpers/engines.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";
import { playback, readRecording } from "./exchanges.js";

/** Whose configuration is looked at before a folder is handed over. */
const folder = mkdtempSync(join(tmpdir(), "weir-recorded-"));
beforeAll(async () => {
  await writeRandomModel(folder, { tie_word_embeddings: false });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each([
  ["the base model", "base", "adapter"],
  ["adapters", "adapter", "adapter"],
  ["whole folders", "checkpoint", "checkpoint"],
] as const)("recorded exchanges with vLLM, %s", (_, name, form) => {
  const recorded = readRecording(join(OWN_FIXTURES, "servers", `vllm-${name}.json`));
  const played = playback(recorded);
  const policy = recorded.policy && placed(recorded.policy);

  it("were given by a server", () => {
    expect(recorded).toMatchObject({ recorded: true, server: expect.stringContaining("vLLM 0.32.0") });
  });

  describeSampler({
    framework: { describe, it },
    policy,
    create: () =>
      createVllmSampler({
        ...{ urls: ["http://recorded.test"], model: null, secret: null, logprobs: "auto", form },
        ...{ callsPerServer: 4, patienceMs: 1_000, deadlineMs: 60_000 },
        fetch: (input, init) =>
          played(
            input,
            init?.body ? { ...init, body: String(init.body).replaceAll(folder, "/policies/checkpoint") } : init,
          ),
      }),
  });
});

/** The policy in a folder of this machine, where it is a whole one. */
function placed(policy: PublishedPolicy): PublishedPolicy {
  if (policy.artifact.kind !== "checkpoint") return policy;
  return { ...policy, artifact: { ...policy.artifact, uri: folder } };
}
