import { describe, expect, it } from "vitest";
import { bothBusyMs, busyMs, type Span, timedCalls } from "../../src/cli/bench/busy-time.js";
import { rowOf, sharesOf } from "../../src/cli/bench/overlap.js";

const span = (from: number, to: number): Span => ({ from, to });
const WINDOW = span(0, 100);

describe("busy time", () => {
  it("counts time in which several calls are open once, and nothing outside the window", () => {
    expect(busyMs([span(50, 60), span(10, 30), span(20, 40), span(25, 28)], WINDOW)).toBe(40);
    expect(busyMs([span(-20, 5), span(90, 130), span(200, 300)], WINDOW)).toBe(15);
    expect(busyMs([], WINDOW)).toBe(0);
  });

  it("of both is the time that the two have in common", () => {
    expect(bothBusyMs([span(0, 50)], [span(30, 80)], WINDOW)).toBe(20);
    expect(bothBusyMs([span(0, 30)], [span(30, 80)], WINDOW)).toBe(0);
    expect(bothBusyMs([span(0, 10), span(40, 60)], [span(5, 45)], WINDOW)).toBe(10);
  });

  it("is that of calls that are watched and take time, failed ones too", async () => {
    const spans: Span[] = [];
    let time = 0;
    const part = {
      factor: 2,
      now: () => 7,
      work: async function (this: { factor: number }, ms: number) {
        time += ms;
        if (ms > 50) throw new Error("too much");
        return this.factor * ms;
      },
      other: async () => undefined,
    };
    const timed = timedCalls(part, { spans, now: () => time, watched: (name) => name !== "other" });
    expect(timed.now()).toBe(7);
    expect(await timed.work(10)).toBe(20);
    await expect(timed.work(60)).rejects.toThrow("too much");
    await timed.other();
    expect(spans).toEqual([span(0, 10), span(10, 70)]);
  });
});

describe("the figures of a run with overlap", () => {
  it("are of the time from the first measured step to the last", () => {
    expect(sharesOf([1000, 2000, 3000], [span(0, 1500), span(2500, 2600)], [span(1000, 2550)])).toEqual({
      steps_per_second: 1,
      sampler_busy: 0.3,
      trainer_busy: 0.775,
      both_busy: 0.275,
    });
    expect(() => sharesOf([1000], [], [])).toThrow("WEIR_E_BENCHMARK");
  });

  it("are compared pair by pair", () => {
    const run = (steps_per_second: number) => ({
      steps_per_second,
      sampler_busy: 0.5,
      trainer_busy: 0.5,
      both_busy: 0,
    });
    // Ratios 1.5 and 2: mean 1.75, s = 0.35355, t(1, 0.975) = 12.706, half width 12.706 · 0.25.
    expect(rowOf({ lag: 1, threads: 1 }, [run(3), run(2)], [run(2), run(1)])).toMatchObject({
      ...{ lag: 1, threads: 1, steps_per_second: 2.5, sampler_busy: 0.5 },
      ratio: "1.75 [-1.43, 4.93]",
    });
  });
});
