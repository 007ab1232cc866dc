import { describe, expect, it } from "vitest";
import { memoryParts, samplerCalls, samplerThreads, sampleTimeoutMs } from "../../src/actors/run/sampler-engines.js";
import { parseConfig } from "../../src/config/load.js";

const config = (engines: number, actor = "engine") =>
  parseConfig({
    model: { path: "m" },
    data: { train: ["t"] },
    rollout: { engines },
    sampler: { actor },
    engine: { requestTimeoutMs: 1_000 },
  });

describe("sampler processes", () => {
  it("get a part of the memory each, the trainer two", () => {
    expect(memoryParts(8, 2, true)).toEqual({ trainer: 4, sampler: 2 });
    expect(memoryParts(null, 6, true, () => 16)).toEqual({ trainer: 4, sampler: 2 });
    expect(memoryParts(null, 0, true)).toEqual({ trainer: null, sampler: 0 });
  });

  it("get all of the memory where the trainer is elsewhere", () => {
    expect(memoryParts(8, 2, false).sampler).toBe(4);
  });

  it("share the cores, one at least, where engine.threads leaves it open", () => {
    expect(samplerThreads(0, 2, 8)).toBe(4);
    expect(samplerThreads(0, 3, 8)).toBe(2);
    expect(samplerThreads(0, 4, 2)).toBe(1);
    expect(samplerThreads(3, 4, 2)).toBe(3);
  });

  it("are called at the same time, with time for a call to be drawn again; servers as many as they work on; a sampler of the user's own as before", () => {
    expect([samplerCalls(config(0)), samplerCalls(config(3)), samplerCalls(config(3, "mine"))]).toEqual([1, 3, 1]);
    const urls = ["http://127.0.0.1:8001", "http://127.0.0.1:8002"];
    const served = { ...config(0), sampler: { ...config(0).sampler, actor: "vllm", urls, callsPerServer: 4 } };
    expect(samplerCalls(served)).toBe(8);
    expect(samplerCalls({ ...served, rollout: { ...served.rollout, callsInFlight: 3 } })).toBe(3);
    expect([sampleTimeoutMs(config(0)), sampleTimeoutMs(config(3))]).toEqual([1_000, 3_000]);
  });
});
