import { describe, expect, it } from "vitest";
import { PolicyPublisher } from "../../src/actors/update/publisher.js";
import { createFakePolicyStore, createFakeSampler, createFakeTrainer } from "../../src/testing.js";

const { signal } = new AbortController();

/** A publisher over fakes; tells what was released and kept. */
function watched() {
  const released: number[] = [];
  const kept: number[][] = [];
  const weights = { n: 0, changed: false };
  const store = createFakePolicyStore();
  const parts = {
    trainer: createFakeTrainer(weights),
    sampler: { ...createFakeSampler({}, { n: 0 }), release: async (n: number) => void released.push(n) },
    policyStore: { ...store, retain: async (versions: ReadonlySet<number>) => void kept.push([...versions].sort()) },
  };
  const publisher = new PolicyPublisher(() => parts);
  const step = async () => {
    weights.changed = true;
    publisher.markChanged();
    return publisher.current(signal);
  };
  return { publisher, step, released, kept };
}

describe("publishing", () => {
  it("has the sampler give up the version before, and the store keep the newest only", async () => {
    const { publisher, step, released, kept } = watched();
    await publisher.current(signal);
    await step();
    await publisher.current(signal);
    await step();
    expect(released).toEqual([0, 1]);
    expect(kept).toEqual([[0], [1], [2]]);
  });

  it("leaves a leased version alone until its last lease ends", async () => {
    const { publisher, step, released, kept } = watched();
    await publisher.current(signal);
    const [first, second] = [publisher.lease(0), publisher.lease(0)];
    await step();
    first();
    first();
    await step();
    expect(released).toEqual([1]);
    second();
    await step();
    expect(released).toEqual([1, 0, 2]);
    expect(kept).toEqual([[0], [0, 1], [0, 2], [3]]);
  });
});
