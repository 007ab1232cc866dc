import { describe, expect, it } from "vitest";
import { VirtualTime } from "../../src/simulation/virtual-time.js";

describe("virtual time", () => {
  it("jumps to the next timer, and fires those of one instant in the order in which they were set", async () => {
    const time = new VirtualTime();
    const seen: string[] = [];
    const say = (name: string) => () => void seen.push(`${name} at ${time.now()}`);
    time.set(say("late"), 3_600_000);
    time.set(say("first"), 10);
    time.set(say("second"), 10);
    time.set(say("early"), 5);
    expect(await time.run(() => false)).toBe("idle");
    expect(seen).toEqual(["early at 5", "first at 10", "second at 10", "late at 3600000"]);
    expect(time.pending).toBe(0);
  });

  it("stands still until every promise that can settle without it has settled", async () => {
    const time = new VirtualTime();
    const seen: number[] = [];
    time.set(() => void seen.push(-1), 1);
    const chain = async () => {
      for (let i = 0; i < 500; i++) {
        await Promise.resolve();
        await null;
        await new Promise<void>((resolve) => process.nextTick(resolve));
      }
      seen.push(time.now());
    };
    void chain();
    await time.run(() => false);
    expect(seen).toEqual([0, -1]);
  });

  it("ends at its goal, or after as many timers as it may fire", async () => {
    const time = new VirtualTime();
    const again = () => void time.set(again, 1);
    again();
    expect(await time.run(() => time.now() >= 7)).toBe("done");
    expect(time.now()).toBe(7);
    expect(await time.run(() => false, 5)).toBe("limit");
  });

  it("forgets a timer that is cleared, once", async () => {
    const time = new VirtualTime();
    const seen: string[] = [];
    const timer = time.set(() => void seen.push("cleared"), 1);
    time.set(() => void seen.push("kept"), 2);
    time.clear(timer);
    time.clear(timer);
    expect(time.pending).toBe(1);
    await time.run(() => false);
    expect(seen).toEqual(["kept"]);
  });

  it("keeps its order over many timers that are set and cleared", async () => {
    const time = new VirtualTime();
    const fired: number[] = [];
    const timers = Array.from({ length: 500 }, (_, i) => {
      const ms = (i * 7919) % 263;
      return time.set(() => void fired.push(time.now()), ms);
    });
    for (let i = 0; i < timers.length; i += 3) time.clear(timers[i]);
    await time.run(() => false);
    expect(fired).toHaveLength(333);
    expect(fired).toEqual(fired.toSorted((a, b) => a - b));
  });

  it("ends the timers of a process that is abandoned, and sets no more for it", async () => {
    const time = new VirtualTime();
    const [killed, other] = [time.lifetime(), time.lifetime()];
    const seen: string[] = [];
    killed.set(() => void seen.push("killed"), 1);
    other.set(() => void seen.push("other"), 2);
    expect(killed.pending).toBe(1);
    killed.abandon();
    killed.set(() => void seen.push("after the kill"), 1);
    expect([killed.pending, other.pending]).toEqual([0, 1]);
    await time.run(() => false);
    expect(seen).toEqual(["other"]);
    expect(other.pending).toBe(0);
  });
});
