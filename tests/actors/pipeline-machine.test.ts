import { describe, expect, it } from "vitest";
import { scriptedStage, supervise } from "./supervised.js";

const three = () => ["a", "b", "c"].map(scriptedStage);
type Three = [ReturnType<typeof scriptedStage>, ReturnType<typeof scriptedStage>, ReturnType<typeof scriptedStage>];

describe("the supervisor of the stages", () => {
  it("starts all of them, and cancels all of them on HALT", () => {
    const stages = three();
    const { send, supervisor } = supervise(stages);
    expect(stages.map((one) => one.running$())).toEqual([1, 1, 1]);
    send({ type: "HALT" });
    expect(stages.map((one) => one.running$())).toEqual([0, 0, 0]);
    expect(supervisor.getSnapshot().value).toBe("idle");
    expect(Object.keys(supervisor.getSnapshot().children)).toEqual([]);
  });

  it("stops the others when one is given up, and tells of it once, after that", () => {
    const stages = three() as Three;
    const running: number[] = [];
    const { failures, supervisor, send } = supervise(stages);
    stages[1].fail("broken", false);
    running.push(...stages.map((one) => one.running$()));
    expect(running).toEqual([0, 0, 0]);
    expect(failures).toEqual([new Error("broken")]);
    expect(supervisor.getSnapshot().value).toBe("failed");
    send({ type: "HALT" });
    send({ type: "START", stages: three() });
    expect(supervisor.getSnapshot().value).toBe("running");
  });

  it("lets the others work while one is started again", async () => {
    const stages = three() as Three;
    const { time, failures } = supervise(stages);
    stages[0].fail("broken");
    expect(stages.map((one) => one.running$())).toEqual([0, 1, 1]);
    await time.advance(100);
    expect(stages.map((one) => one.running$())).toEqual([1, 1, 1]);
    expect(stages.map((one) => one.started())).toEqual([2, 1, 1]);
    expect(failures).toEqual([]);
  });

  it("runs the stages that it is given last, under the names of earlier ones", () => {
    const [before, after] = [three() as Three, three() as Three];
    const { send, failures } = supervise(before);
    send({ type: "HALT" });
    send({ type: "START", stages: after });
    before[0].fail("too late", false);
    expect(failures).toEqual([]);
    expect(after.map((one) => one.running$())).toEqual([1, 1, 1]);
  });

  it("cancels the stages when it is stopped itself", () => {
    const stages = three();
    const { supervisor } = supervise(stages);
    supervisor.stop();
    expect(stages.map((one) => one.running$())).toEqual([0, 0, 0]);
  });
});
