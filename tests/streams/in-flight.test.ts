import { describe, expect, it } from "vitest";
import { InFlight } from "../../src/streams/in-flight.js";

/** Timers that fire when the test says so. */
function manualTimers() {
  const waiting = new Set<() => void>();
  return {
    waiting,
    timers: {
      set: (callback: () => void) => {
        waiting.add(callback);
        return callback;
      },
      clear: (handle: unknown) => void waiting.delete(handle as () => void),
    },
  };
}

describe("what is in flight at the end of a run", () => {
  it("is waited for until the last piece has settled, rejected ones too, and no timer is left", async () => {
    const { timers, waiting } = manualTimers();
    const inFlight = new InFlight(timers);
    const ends: (() => void)[] = [];
    inFlight.track(new Promise<void>((resolve) => ends.push(resolve)));
    const rejected = inFlight.track(new Promise<void>((_, reject) => ends.push(() => reject(new Error("cancelled")))));
    const settled = inFlight.settled(1000);
    for (const end of ends) end();
    await expect(rejected).rejects.toThrow("cancelled");
    expect(await settled).toBe(0);
    expect(waiting.size).toBe(0);
  });

  it("is left behind after the grace, and counted", async () => {
    const { timers, waiting } = manualTimers();
    const inFlight = new InFlight(timers);
    void inFlight.track(new Promise(() => undefined));
    const settled = inFlight.settled(1000);
    for (const fire of waiting) fire();
    expect(await settled).toBe(1);
  });

  it("is nothing where nothing was begun", async () => {
    const { timers, waiting } = manualTimers();
    expect(await new InFlight(timers).settled(1000)).toBe(0);
    expect(waiting.size).toBe(0);
  });
});
