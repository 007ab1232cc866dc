import { describe, expect, it } from "vitest";
import { PolicyPublisher } from "../../src/actors/update/publisher.js";
import type { PolicyStore } from "../../src/contracts/policy-store.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { createFakePolicyStore, createFakeSampler, createFakeTrainer } from "../../src/testing.js";

const { signal } = new AbortController();

/** A publisher over fakes; tells what was released and kept. A release takes until `drawn` resolves. */
function watched(drawn: Promise<void> = Promise.resolve()) {
  const adopted: number[] = [];
  const released: number[] = [];
  const kept: number[][] = [];
  const weights = { n: 0, changed: false };
  const store: PolicyStore = createFakePolicyStore();
  const parts = {
    trainer: createFakeTrainer(weights),
    sampler: {
      ...createFakeSampler({}, { n: 0 }),
      adopt: async ({ version }: PublishedPolicy) => void adopted.push(version.n),
      release: async (n: number) => {
        await drawn;
        released.push(n);
      },
    },
    policyStore: {
      ...store,
      assertRoom: async () => store.assertRoom?.(),
      retain: async (versions: ReadonlySet<number>) => void kept.push([...versions].sort()),
    },
  };
  const publisher = new PolicyPublisher(() => parts);
  const step = async () => {
    weights.changed = true;
    publisher.markChanged();
    return publisher.current(signal);
  };
  return { publisher, step, adopted, released, kept, weights, store };
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

  it("gives a sampler up what it was given before the run went back, and what it may have lost again", async () => {
    const { publisher, step, released, adopted } = watched();
    await publisher.current(signal);
    await step();
    publisher.reset(null);
    await publisher.current(signal);
    expect([adopted, released]).toEqual([[0, 1, 1], [0]]);
    publisher.forgetAdoption();
    expect(publisher.isAdopted).toBe(false);
    await publisher.current(signal);
    await publisher.current(signal);
    expect([adopted, released]).toEqual([[0, 1, 1, 1], [0]]);
  });

  it("releases versions of the undone steps once another one is adopted", async () => {
    const { publisher, step, released, weights } = watched();
    await publisher.current(signal);
    await step();
    await step();
    publisher.reset(null);
    weights.n = 0;
    await publisher.current(signal);
    expect(released).toEqual([0, 1, 2]);
  });

  it("has the sampler draw from a new version while the one before is still drawn from", async () => {
    let end = () => {};
    const { publisher, adopted, released, kept, weights } = watched(new Promise<void>((resolve) => (end = resolve)));
    const overlapped = async () => {
      weights.changed = true;
      publisher.markChanged();
      await publisher.publishNow(signal);
      return publisher.adoptLatest(signal);
    };
    await publisher.current(signal);
    const first = await overlapped();
    const second = await overlapped();
    expect(publisher.sampledVersion).toBe(2);
    expect([adopted, released]).toEqual([[0, 1, 2], []]);
    end();
    await Promise.all([first.released, second.released]);
    expect(released).toEqual([0, 1]);
    // Each version stays in the store for as long as the sampler may read it.
    expect(kept).toEqual([[0], [1, 2], [2]]);
  });

  it("waits for a version to be given up before it finds that there is no room for another", async () => {
    let end = () => {};
    const { publisher, step, released, store } = watched(new Promise<void>((resolve) => (end = resolve)));
    await publisher.current(signal);
    const stepped = step();
    store.assertRoom = async () => {
      if (released.length === 0) throw new Error("full");
    };
    const asked = publisher.assertRoom();
    setTimeout(end, 5);
    await expect(asked).resolves.toBe(undefined);
    await stepped;
  });
});
