/** The session that was recorded from SkyRL 0.4.0, played back: the same calls, and the same outcome from the same answers. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createTinkerSampler } from "../../src/remote/tinker/sampler.js";
import { ServerLink } from "../../src/remote/tinker/server-link.js";
import { createTinkerTrainer } from "../../src/remote/tinker/trainer.js";
import { realTime } from "../../src/system/time.js";
import { FIXTURES } from "../helpers/fixtures.js";
import { playbackFetch, readTinkerRecording } from "./tinker-exchanges.js";
import { SESSION_LORA, type SessionOutcome, SKYRL_RECORDING, tinkerSession } from "./tinker-session.js";

it("makes of the recorded answers what was made of them then, and asks for nothing else", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-tinker-"));
  try {
    const recording = readTinkerRecording(SKYRL_RECORDING);
    const { fetch, left } = playbackFetch(recording);
    const link = new ServerLink();
    const connection = { url: "http://127.0.0.1:1", apiKey: null, patienceMs: 0, deadlineMs: 5_000, time: realTime };
    const modelDir = join(FIXTURES, "models", "tiny-llama");
    const trainer = createTinkerTrainer({
      ...{ ...connection, fetch, baseModel: null, modelDir, lora: SESSION_LORA, lossScale: "auto", link },
    });
    const sampler = createTinkerSampler({ ...connection, fetch, link });
    const outcome = await tinkerSession(trainer, sampler, folder);
    expect(outcome).toEqual(recording.outcome);
    expect(left()).toBe(0);
    const { mismatch, scores, norms } = outcome satisfies SessionOutcome;
    expect(mismatch).toBeLessThan(1e-4);
    expect(scores[2]).toEqual(scores[1]);
    expect(scores[1]).not.toEqual(scores[0]);
    // The clip of the last loss holds every token.
    expect(norms.map((norm) => norm > 0)).toEqual([true, true, false]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
