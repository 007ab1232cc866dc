import { describe, expect, it } from "vitest";
import { scriptedStage, supervise } from "./supervised.js";

describe("the supervisor of a stage", () => {
  it("starts it again after a wait that doubles with each failure in a row", async () => {
    const work = scriptedStage("work");
    const { time, state, told } = supervise([work]);
    expect(work.started()).toBe(1);
    for (const [failure, wait] of [100, 200, 400].entries()) {
      work.fail("broken");
      expect(state("work")).toBe("restarting");
      await time.advance(wait - 1);
      expect(work.started()).toBe(failure + 1);
      await time.advance(1);
      expect(work.started()).toBe(failure + 2);
    }
    expect(told()).toEqual([1, 2, 3].flatMap((n) => [`work restarting ${n}`, `work running ${n}`]));
    expect(time.pending).toBe(0);
  });

  it("gives it up after as many restarts in a row as it may have", async () => {
    const work = scriptedStage("work");
    const { time, told, failures } = supervise([work], 2);
    for (let i = 0; i < 3; i++) {
      work.fail(`broken ${i}`);
      await time.advance(1_000);
    }
    expect(told().at(-1)).toBe("work failed 2");
    expect(failures).toEqual([new Error("broken 2")]);
    expect(work.started()).toBe(3);
  });

  it("counts anew once an item was finished in between", async () => {
    const work = scriptedStage("work");
    const { time, failures } = supervise([work], 1);
    for (let handled = 1; handled <= 4; handled++) {
      work.fail("broken");
      await time.advance(100);
      work.set({ handled });
    }
    expect(failures).toEqual([]);
    expect(work.started()).toBe(5);
    work.fail("broken");
    await time.advance(100);
    work.fail("broken again, with nothing finished");
    expect(failures).toHaveLength(1);
  });

  it("gives it up at once for an error that a restart does not help against", () => {
    const work = scriptedStage("work");
    const { told, failures } = supervise([work]);
    work.fail("half an update", false);
    expect(told()).toEqual(["work failed 0"]);
    expect(failures).toEqual([new Error("half an update")]);
  });

  it("forgets a restart that is due when it is stopped", async () => {
    const work = scriptedStage("work");
    const { time, send } = supervise([work]);
    work.fail("broken");
    send({ type: "HALT" });
    expect(time.pending).toBe(0);
    await time.advance(1_000);
    expect(work.started()).toBe(1);
  });

  it.each([
    ["waitingForInput", { busy: 0 }],
    ["waitingForRoom", { busy: 2, waitingForRoom: 2 }],
    ["running", { busy: 2, waitingForRoom: 1 }],
    ["draining", { busy: 1, ended: true }],
  ])("shows %s", (name, status) => {
    const work = scriptedStage("work");
    const { state, observe } = supervise([work]);
    work.set(status);
    observe(work);
    expect(state("work")).toEqual({ working: name });
    expect(work.started()).toBe(1);
  });

  it("lets it rest once its input has ended", () => {
    const work = scriptedStage("work");
    const { state, failures } = supervise([work]);
    work.complete();
    expect(state("work")).toBe("stopped");
    expect(failures).toEqual([]);
  });
});
