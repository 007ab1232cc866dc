import { VirtualTimeScheduler } from "rxjs";
import { describe, expect, it } from "vitest";
import type { ActorStatus } from "../../src/contracts/actor-status.js";
import { BoundedQueue } from "../../src/streams/bounded-queue.js";
import { GaugeBoard, type PipelineReading } from "../../src/streams/gauges.js";
import { actor } from "../helpers/actors.js";

describe("the board of gauges", () => {
  it("reads actors in the order of their registration, groups that grow included", () => {
    const board = new GaugeBoard();
    const samplers: ActorStatus[] = [actor("sampler-1", { parent: "rollout" })];
    let state: ActorStatus["state"] = "starting";
    board.watchActor(() => actor("rollout", { state }));
    board.watchActor(() => samplers);
    const seen: PipelineReading[] = [];
    const time = new VirtualTimeScheduler();
    board.readings(100, time).subscribe((reading) => seen.push(reading));
    board.publish();
    // What changes before the interval is over is in its reading.
    state = "running";
    samplers.push(actor("sampler-2", { parent: "rollout", state: "restarting" }));
    time.flush();
    samplers.length = 0;
    board.publish();
    time.flush();
    expect(seen.map(({ actors }) => actors.map(({ name, state }) => `${name} ${state}`))).toEqual([
      ["rollout running", "sampler-1 running", "sampler-2 restarting"],
      ["rollout running"],
    ]);
  });

  it("reads once in an interval, however often the pipeline publishes, and not at all where it does not", () => {
    const board = new GaugeBoard();
    let reads = 0;
    board.watchActor(() => {
      reads++;
      return actor("reward");
    });
    const time = new VirtualTimeScheduler();
    board.readings(100, time).subscribe();
    time.flush();
    expect(reads).toBe(0);
    for (let i = 0; i < 1_000; i++) board.publish();
    time.flush();
    expect([reads, time.now()]).toEqual([1, 100]);
  });

  it("shows an actor that is registered again under its name once, as it is now", () => {
    const board = new GaugeBoard();
    board.watchActor(() => actor("reward", { handled: 4 }));
    board.watchActor(() => actor("group"));
    board.watchActor(() => actor("reward", { handled: 1 }));
    expect(board.readActors().map(({ name, handled }) => [name, handled])).toEqual([
      ["reward", 1],
      ["group", 0],
    ]);
  });

  it("knows no lag before the first batch, then that of the last one", () => {
    const board = new GaugeBoard();
    expect(board.reading().lag).toBeNull();
    board.setLag({ bound: 2, tokens: [10, 4] });
    board.setLag({ bound: 2, tokens: [0, 3, 9] });
    expect(board.lag).toEqual({ bound: 2, tokens: [0, 3, 9] });
    expect(board.reading().lag).toBe(board.lag);
  });

  it("a queue of a name that comes again adds to the earlier one", async () => {
    const board = new GaugeBoard();
    for (const items of [3, 1]) {
      const queue = board.watch(new BoundedQueue<number>("scored", 4));
      for (let i = 0; i < items; i++) await queue.push(i);
      for (let i = 0; i < items; i++) await queue.pull();
    }
    expect(board.read()).toMatchObject([{ name: "scored", depth: 0, highWater: 3, passed: 4 }]);
  });

  it("I4: a peak is that of the queues with the present bound, which changes with the size of a group", async () => {
    const board = new GaugeBoard();
    const fill = async (bound: number, items: number) => {
      const queue = board.watch(new BoundedQueue<number>("rollouts", bound));
      for (let i = 0; i < items; i++) await queue.push(i);
      for (let i = 0; i < items; i++) await queue.pull();
      return board.read()[0];
    };
    await fill(8, 7);
    expect(await fill(4, 2)).toMatchObject({ bound: 4, highWater: 2, passed: 9 });
    expect(await fill(4, 1)).toMatchObject({ bound: 4, highWater: 2, passed: 10 });
  });
});
