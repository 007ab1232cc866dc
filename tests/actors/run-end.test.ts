/** Subscribers that misbehave, and what is in flight when a run ends. */
import type { Observable } from "rxjs";
import { describe, expect, it } from "vitest";
import type { TrainingSystem } from "../../src/actors/run/training-system.js";
import { fakeVersion } from "../../src/testing.js";
import { endStates, parityReward } from "../e2e/tiny-run.js";
import { wholeSpan } from "../helpers/sampling.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 2 }] };

const streamsOf = (system: TrainingSystem): Observable<unknown>[] => [
  system.state$,
  system.metrics$,
  system.alerts$,
  system.traces$,
  system.facts$,
  system.gauges$,
  system.actors$,
];

/** A reward that waits in step 1 until its signal fires; `begun` resolves with the first call. */
function waitingReward() {
  const aborted: string[] = [];
  let settled = 0;
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const reward = rewardOf(({ rollout }, signal) => {
    if (!rollout.id.startsWith("s1-")) return rollout.sampleIndex % 2;
    begin();
    return new Promise<number>((_, reject) => {
      signal.addEventListener("abort", () => {
        aborted.push(rollout.id);
        // Cleaning up takes a moment, which the end of the run waits for.
        setImmediate(() => {
          settled++;
          reject(signal.reason as Error);
        });
      });
    });
  });
  return { reward, begun, aborted, settled: () => settled };
}

describe("a training system's subscribers", () => {
  it("cannot break the run, the process or one another by throwing, rejecting or completing", async () => {
    const { system, metrics } = await fakeRun(onePhase, parityReward);
    const uncaught: unknown[] = [];
    const note = (error: unknown) => uncaught.push(error);
    process.on("uncaughtException", note).on("unhandledRejection", note);
    for (const stream of streamsOf(system)) {
      stream.subscribe(() => {
        throw new Error("broken");
      });
      stream.subscribe(async () => {
        throw new Error("broken later");
      });
      for (const method of ["next", "complete", "error"]) expect(method in stream).toBe(false);
    }
    await system.start();
    expect((await system.done).status).toBe("completed");
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off("uncaughtException", note).off("unhandledRejection", note);
    expect(uncaught).toEqual([]);
    expect(metrics.filter(({ values }) => "group/kept" in values)).toHaveLength(2);
    let completed = 0;
    for (const stream of streamsOf(system)) stream.subscribe({ complete: () => completed++ });
    expect(completed).toBe(7);
  });

  it("cannot change what the run goes on with", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    system.metrics$.subscribe(({ values }) => {
      delete (values as Record<string, number>)["entropy/mean"];
    });
    const seen: unknown[] = [];
    system.metrics$.subscribe(({ values }) => "group/kept" in values && seen.push(values["entropy/mean"]));
    await system.start();
    await system.done;
    // The fake sampler's entropy is 0.5 everywhere.
    expect(seen).toEqual([0.5, 0.5]);
  });
});

describe("rewards in flight", () => {
  it("I5: are cancelled when a run is stopped at once, and waited for", async () => {
    const { reward, begun, aborted, settled } = waitingReward();
    const { system } = await fakeRun(onePhase, reward);
    await system.start();
    await begun;
    const { status } = await system.stop({ abort: true });
    expect(status).toBe("stopped");
    expect(aborted.length).toBeGreaterThan(0);
    expect(settled()).toBe(aborted.length);
    // I2: what was issued has ended in the ledger, which was still open.
    const ends = [...(await endStates(system.runDirectory as string)).values()];
    expect(new Set(ends)).toEqual(new Set(["dropped:aborted"]));
  });

  it("I5: are cancelled when the run fails beside them", async () => {
    const { reward, begun, aborted, settled } = waitingReward();
    let calls = 0;
    const { system } = await fakeRun({ ...onePhase, stages: { maxRestarts: 0 } }, reward, {
      sampler: {
        // Preflight takes two calls; the second one of step 1 fails while rewards of the first are computed.
        async sample({ prompts, params, policy }) {
          calls++;
          if (calls === 4) {
            await begun;
            throw new Error("the sampler broke");
          }
          const version = policy !== null && "exactly" in policy ? policy.exactly : 0;
          const spans = wholeSpan(1, version, fakeVersion(version).sha256);
          const sequence = { tokenIds: [5], logprobs: [-1], entropies: [0.5], finish: "stop" as const, spans };
          const sequences = prompts.map(({ seeds }) => seeds.map(() => sequence));
          return { sequences, seconds: params.maxTokens };
        },
      },
    });
    await system.start();
    await expect(system.done).rejects.toThrow("the sampler broke");
    expect(aborted.length).toBeGreaterThan(0);
    expect(settled()).toBe(aborted.length);
  });
});

describe("a journal that cannot be written", () => {
  it("ends the run with its error instead of the process, and cancels what is in flight", async () => {
    const { reward, begun, aborted, settled } = waitingReward();
    const { system } = await fakeRun(onePhase, reward);
    await system.start();
    const { journal } = (system as unknown as { run: { context: { store: { journal: { append: unknown } } } } }).run
      .context.store;
    await begun;
    journal.append = () => {
      throw new Error("no space left on device");
    };
    await expect(system.stop({ abort: true })).rejects.toThrow("no space left on device");
    expect(system.state.lifecycle).toBe("failed");
    expect(settled()).toBe(aborted.length);
  });
});
