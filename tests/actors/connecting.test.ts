import { describe, expect, it } from "vitest";
import type { RunParts } from "../../src/actors/parts/part-kinds.js";
import { connectParts, whenConnected } from "../../src/actors/run/connecting.js";
import type { RunContext } from "../../src/actors/run/run-context.js";
import { type ErrorCode, WeirError } from "../../src/errors.js";
import { VirtualTime } from "../helpers/virtual-time.js";

const { signal } = new AbortController();

/** Parts whose connections fail with these codes, in the order of the tries. */
function partsOf(failures: Partial<Record<keyof RunParts, readonly ErrorCode[]>>) {
  const calls: string[] = [];
  const part = (kind: keyof RunParts, codes: readonly ErrorCode[]) => {
    const left = [...codes];
    return {
      connect: async () => {
        calls.push(kind);
        const code = left.shift();
        if (code !== undefined) throw new WeirError(code, `${kind} failed`);
      },
    };
  };
  const entries = Object.entries(failures).map(([kind, codes]) => [kind, part(kind as keyof RunParts, codes)]);
  const others = { reward: {}, trainer: {}, sampler: {}, policyStore: {} };
  return { parts: { ...others, ...Object.fromEntries(entries) } as unknown as RunParts, calls };
}

function waiting(parts: RunParts) {
  const time = new VirtualTime();
  const control = new AbortController();
  let end = "waiting";
  const context = { parts, time, log: { debug: () => undefined } } as unknown as RunContext;
  const done = whenConnected(context, control.signal).then(
    () => {
      end = "connected";
    },
    (error) => {
      end = error instanceof Error ? error.message : String(error);
    },
  );
  return { time, control, done, context, end: () => end };
}

describe("the parts of a run", () => {
  it("connect one after another, the trainer first; those without a server are left alone", async () => {
    const { parts, calls } = partsOf({ guard: [], policyStore: [], sampler: [], trainer: [] });
    await connectParts(parts, signal);
    expect(calls).toEqual(["trainer", "sampler", "policyStore", "guard"]);
  });

  it("are tried again after 1, 2, 4 s and so on, at most 30 s, until all of them answer", async () => {
    const { parts, calls } = partsOf({ sampler: Array.from({ length: 7 }, () => "WEIR_E_UNREACHABLE" as const) });
    const run = waiting(parts);
    for (const [tries, seconds] of [1, 2, 4, 8, 16, 30, 30].entries()) {
      await run.time.advance(seconds * 1_000 - 1);
      expect([calls.length, run.end()]).toEqual([tries + 1, "waiting"]);
      await run.time.advance(1);
    }
    expect([calls.length, run.end()]).toEqual([8, "connected"]);
    expect(run.time.pending).toBe(0);
  });

  it("are read anew for each try: another part may have taken the place of the one that is gone", async () => {
    const { parts } = partsOf({ sampler: ["WEIR_E_UNREACHABLE", "WEIR_E_UNREACHABLE", "WEIR_E_UNREACHABLE"] });
    const run = waiting(parts);
    await run.time.advance(1);
    run.context.parts = partsOf({ sampler: [] }).parts;
    await run.time.advance(1_000);
    expect(run.end()).toBe("connected");
  });

  it("are given up at a refusal, and with the signal", async () => {
    const refused = waiting(partsOf({ trainer: ["WEIR_E_REMOTE"] }).parts);
    await refused.done;
    expect(refused.end()).toContain("WEIR_E_REMOTE");
    const ended = waiting(partsOf({ trainer: ["WEIR_E_UNREACHABLE"] }).parts);
    await ended.time.advance(1);
    ended.control.abort(new Error("the run ended"));
    await ended.done;
    expect([ended.end(), ended.time.pending]).toEqual(["the run ended", 0]);
  });
});
