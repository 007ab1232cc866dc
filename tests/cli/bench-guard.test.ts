/** The faults of `weir bench guard`, what is seen of them, and the tables; no run. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createGrpoAdvantage } from "../../src/actors/advantage/advantage.js";
import { corruptedSampler, withScaled } from "../../src/cli/bench/guard/corrupted-sampler.js";
import { narrowEnough, pairRatios } from "../../src/cli/bench/guard/cost.js";
import { FaultWindow } from "../../src/cli/bench/guard/fault-window.js";
import { FAULTS, faultsNamed, LASTING_ATTEMPTS } from "../../src/cli/bench/guard/faults.js";
import { injectionsOf, planOf, undisturbed } from "../../src/cli/bench/guard/guard.js";
import { accuracyOf, type InjectionResult } from "../../src/cli/bench/guard/injection.js";
import {
  fairJudge,
  lateReward,
  nanReward,
  notingJudged,
  notingReward,
  Spoilt,
  scaledAdvantage,
  truncatingSampler,
  yesJudge,
} from "../../src/cli/bench/guard/injectors.js";
import { FaultObserver } from "../../src/cli/bench/guard/observer.js";
import { accuracyRow, counted, detectionRow, healthyRow, ratioText } from "../../src/cli/bench/guard/tables.js";
import { Turns } from "../../src/cli/bench/guard/turns.js";
import type { AdvantageGroup } from "../../src/contracts/advantage.js";
import type { Fact, FactData, FactType } from "../../src/contracts/fact.js";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import type { RewardActor, RewardInput } from "../../src/contracts/reward.js";
import type { SampleRequest, Sampler } from "../../src/contracts/sampler.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { contentHash, tensorDigest } from "../../src/model/transformer/content-hash.js";
import { exampleRollout, exampleTask } from "../../src/testing/examples.js";
import { createFakeSampler } from "../../src/testing/fake-engine.js";
import { scored } from "../../src/testing/fakes.js";
import { writeRandomModel } from "../helpers/engines.js";
import { failure } from "../helpers/errors.js";

const { signal } = new AbortController();
const on = { active: true, done: 0 };
const off = { active: false, done: 0 };

let seq = 0;
const fact = <T extends FactType>(type: T, step: number, data: unknown = {}): Fact =>
  ({ schema_version: 1, seq: ++seq, step, time: 0, type, data: data as FactData[T] }) as unknown as Fact;
const committed = (step: number) => fact("step.committed", step);
const rolledBack = (step: number) => fact("run.rolledBack", step);
const applied = (step: number, updates: number) =>
  fact("metrics.recorded", step, { phase: 1, values: { "update/applied": updates } });
const judged = (step: number, verdict: string, rule: string | null) =>
  fact("guard.judged", step, { stage: "rl", verdict, rule, reason: "because" });
const alarm = (step: number, rule: string, culprits: readonly string[] = [], level = "warn") =>
  fact("alert.raised", step, {
    alert: { rule, metric: "kl/update", level, culprits: culprits.map((rolloutId) => ({ rolloutId })) },
  });

describe("the window of a fault", () => {
  it("begins with its step and ends after so many attempts, rollbacks among them", () => {
    const told: string[] = [];
    const window = new FaultWindow({
      ...{ from: 3, attempts: 3 },
      onBegin: () => told.push("begin"),
      onEnd: () => told.push("end"),
    });
    window.hear(committed(1));
    expect([window.active, window.begun]).toEqual([false, false]);
    window.hear(committed(2));
    expect([window.active, window.done, told]).toEqual([true, 0, ["begin"]]);
    window.hear(committed(3));
    window.hear(rolledBack(2));
    window.hear(fact("run.started", 3));
    expect([window.active, window.done]).toEqual([true, 2]);
    window.hear(committed(3));
    expect([window.active, window.begun, told]).toEqual([false, true, ["begin", "end"]]);
    window.hear(committed(2));
    window.end();
    expect([window.active, window.done, told]).toEqual([false, 4, ["begin", "end"]]);
  });

  it("begins at once where its step is the first", () => {
    expect(new FaultWindow({ from: 1, attempts: 1 }).active).toBe(true);
  });

  it("lets those wait that want to be late, until it is over at the latest", async () => {
    const window = new FaultWindow({ from: 1, attempts: 5 });
    const events: string[] = [];
    const wait = (attempts: number) => window.later(attempts, signal).then(() => events.push(`${attempts} later`));
    const waits = [wait(2), wait(9)];
    window.hear(committed(1));
    await Promise.resolve();
    expect(events).toEqual([]);
    window.hear(committed(2));
    await waits[0];
    expect(events).toEqual(["2 later"]);
    window.end();
    await waits[1];
    expect(events).toEqual(["2 later", "9 later"]);
    await window.later(3, signal);
  });

  it("stops a wait with its signal", async () => {
    const window = new FaultWindow({ from: 1, attempts: 5 });
    const abort = new AbortController();
    const wait = window.later(1, abort.signal);
    abort.abort(new Error("enough"));
    await expect(wait).rejects.toThrow("enough");
  });
});

const task = exampleTask({ id: "task" });
const inputOf = (id: string, tokenIds: readonly number[], groupId = "group"): RewardInput => ({
  task,
  rollout: exampleRollout(task, "text", { id, tokenIds: [...tokenIds], groupId }),
});
const half: RewardActor = { kind: "half", specificationVersion: 1, handle: async () => scored(0.5) };

/** Two groups of two: rewards 1 and 0; tokens as given. */
function groupsOf(tokens: readonly (readonly number[])[]): AdvantageGroup[] {
  const member = (tokenIds: readonly number[], reward: number) => ({
    ...{ reward, unshaped: reward, parts: {}, tokenIds, entropies: null },
    samplerLogprobs: tokenIds.map(() => -1),
    finish: "stop" as const,
  });
  return [0, 2].map((first) => ({
    ...{ taskId: "task", source: "musique", phase: 1 },
    members: [member(tokens[first] ?? [], 1), member(tokens[first + 1] ?? [], 0)],
  }));
}

describe("faulty parts", () => {
  const tokens = [[1], [2, 3], [4], [5]];
  // (1 − 0.5)/√½ = √½, and the same below 0.
  const plain = [
    [Math.SQRT1_2, -Math.SQRT1_2],
    [Math.SQRT1_2, -Math.SQRT1_2],
  ].map((group) => group.map((value) => expect.closeTo(value, 4)));

  it("multiply the advantages of a whole batch, all of whose responses are spoilt", async () => {
    const spoilt = new Spoilt();
    const reward = notingReward(half, spoilt);
    for (const [i, ids] of tokens.entries()) await reward.handle(inputOf(`r${i}`, ids), { signal });
    const options = { factor: 1000, whose: "batch" } as const;
    const groups = groupsOf(tokens);
    expect(scaledAdvantage(createGrpoAdvantage(), off, spoilt, options).handle(groups, { signal })).toEqual(plain);
    expect(spoilt.ids.size).toBe(0);
    expect(scaledAdvantage(createGrpoAdvantage(), on, spoilt, options).handle(groups, { signal })).toEqual([
      [expect.closeTo(707.1, 1), expect.closeTo(-707.1, 1)],
      [expect.closeTo(707.1, 1), expect.closeTo(-707.1, 1)],
    ]);
    expect([...spoilt.ids]).toEqual(["r0", "r1", "r2", "r3"]);
  });

  it("multiply the advantage of one response that is like no other", async () => {
    const spoilt = new Spoilt();
    const reward = notingReward(half, spoilt);
    const twins = [[1], [1], [4], [5]];
    for (const [i, ids] of twins.entries()) await reward.handle(inputOf(`r${i}`, ids), { signal });
    const part = scaledAdvantage(createGrpoAdvantage(), on, spoilt, { factor: 1000, whose: "sample" });
    expect(part.handle(groupsOf(twins), { signal })).toEqual([plain[0], [expect.closeTo(707.1, 1), plain[1]?.[1]]]);
    expect([...spoilt.ids]).toEqual(["r2"]);
    expect(part.minGroupSize).toBe(2);
  });

  it("give NaN once in each attempt", async () => {
    const spoilt = new Spoilt();
    const window = { active: true, done: 0 };
    const reward = nanReward(half, window, spoilt);
    const values: number[] = [];
    for (const id of ["a", "b", "c"]) {
      if (id === "c") window.done++;
      const outcome = await reward.handle(inputOf(id, [1]), { signal });
      values.push(outcome.kind === "scored" ? outcome.value : -1);
    }
    expect(values).toEqual([Number.NaN, 0.5, Number.NaN]);
    expect([...spoilt.ids]).toEqual(["a", "c"]);
    window.active = false;
    window.done++;
    expect(await reward.handle(inputOf("d", [1]), { signal })).toEqual(scored(0.5));
  });

  it("say YES in place of a judge that compares texts", async () => {
    const query = { problem: "where?", prediction: "  Oslo ", gold: "oslo" };
    const wrong = { ...query, prediction: "Rome" };
    expect(await fairJudge.ask(query, { signal })).toMatchObject({ value: 1 });
    expect(await fairJudge.ask(wrong, { signal })).toMatchObject({ value: 0, reply: "NO" });
    expect(await yesJudge(fairJudge, on).ask(wrong, { signal })).toMatchObject({ value: 1, reply: "YES" });
    expect(await yesJudge(fairJudge, off).ask(wrong, { signal })).toMatchObject({ value: 0 });
  });

  it("note the rollouts that the judge let through", async () => {
    const spoilt = new Spoilt();
    const parts: Record<string, number> = { rule: 0, judge: 1 };
    const hybrid: RewardActor = {
      ...half,
      handle: async () => ({ kind: "scored", value: 1, parts: { ...parts }, prediction: "Rome" }),
    };
    await notingJudged(hybrid, off, spoilt).handle(inputOf("before", [1]), { signal });
    await notingJudged(hybrid, on, spoilt).handle(inputOf("raised", [1]), { signal });
    parts.judge = 0;
    await notingJudged(hybrid, on, spoilt).handle(inputOf("refused", [1]), { signal });
    expect([...spoilt.ids]).toEqual(["raised"]);
  });

  it("cut the responses of the training, and no others", async () => {
    const inner = createFakeSampler();
    const asked: number[] = [];
    const counting = {
      ...inner,
      sample: (request: SampleRequest, options: { readonly signal: AbortSignal }) => {
        asked.push(request.params.maxTokens);
        return inner.sample(request, options);
      },
    };
    const request = (purpose: SampleRequest["purpose"]): SampleRequest => ({
      ...{ id: "one", prompts: [{ promptIds: [1, 2], seeds: [7] }], policy: null, purpose, deadlineMs: 1000 },
      params: { temperature: 1, topP: 1, topK: 0, maxTokens: 40, stopIds: [] },
    });
    await truncatingSampler(counting, on, 8).sample(request("training"), { signal });
    await truncatingSampler(counting, on, 8).sample(request("evaluation"), { signal });
    await truncatingSampler(counting, on, 99).sample(request("training"), { signal });
    await truncatingSampler(counting, off, 8).sample(request("training"), { signal });
    expect(asked).toEqual([8, 40, 40, 40]);
  });

  it("keep the rewards of so many groups back, all members of each", async () => {
    const window = new FaultWindow({ from: 1, attempts: 9 });
    const reward = lateReward(half, window, { attempts: 2, atOnce: 1 });
    const done: string[] = [];
    const score = (id: string, groupId: string) =>
      reward.handle(inputOf(id, [1], groupId), { signal }).then(() => done.push(id));
    const late = [score("a1", "a"), score("a2", "a")];
    await score("b1", "b");
    window.hear(committed(1));
    expect(done).toEqual(["b1"]);
    window.hear(committed(2));
    await Promise.all(late);
    expect(done.sort()).toEqual(["a1", "a2", "b1"]);
    const next = score("c1", "c");
    window.end();
    await next;
  });
});

describe("a sampler with a damaged tensor", () => {
  const TENSOR = "model.layers.0.mlp.down_proj.weight";
  const request: SampleRequest = {
    ...{ id: "one", prompts: [{ promptIds: [1], seeds: [7] }], policy: null, purpose: "training", deadlineMs: 1000 },
    params: { temperature: 1, topP: 1, topK: 0, maxTokens: 4, stopIds: [] },
  };

  it("has another scale of that tensor alone", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-damaged-"));
    const source = await readTensors(await writeRandomModel(folder));
    const damaged = withScaled(source, TENSOR, 0.5);
    const values = source.read(TENSOR);
    expect(damaged.read(TENSOR)).toEqual(values.map((value) => value / 2));
    expect(values.some((value) => value !== 0)).toBe(true);
    for (const name of source.names()) if (name !== TENSOR) expect(damaged.read(name), name).toEqual(source.read(name));
    await rm(folder, { recursive: true });
  });

  it("samples from the damaged copy while the window is active, under the name of the version that it was given", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-damaged-"));
    const uri = await writeRandomModel(join(folder, "model"));
    const window = { active: false };
    const hashes: string[] = [];
    const held = { sha256: "" };
    const fake = createFakeSampler();
    const inner: Sampler = {
      ...fake,
      adopt: async ({ version, artifact }) => {
        const tensors = await readTensors(artifact.uri);
        const sha256 = contentHash(tensors.names().map((name) => tensorDigest(tensors.read(name))));
        expect(version).toEqual({ n: 3, sha256 });
        held.sha256 = sha256;
        hashes.push(sha256);
      },
      sample: async () => {
        const spans = [{ version: 3, sha256: held.sha256, start: 0, end: 1 }];
        const one = { tokenIds: [1], logprobs: [-1], entropies: null, finish: "stop" as const, spans };
        return { sequences: [[one]], seconds: 0 };
      },
    };
    const sampler = corruptedSampler(inner, { window, tensor: TENSOR, factor: 0.5, folder: join(folder, "copies") });
    const whole = await readTensors(uri);
    const sha256 = contentHash(whole.names().map((name) => tensorDigest(whole.read(name))));
    const policy: PublishedPolicy = { version: { n: 3, sha256 }, artifact: { kind: "checkpoint", uri }, bytes: 0 };
    const spanOf = async () => (await sampler.sample(request, { signal })).sequences[0]?.[0]?.spans[0]?.sha256;
    await sampler.adopt(policy, { signal, inFlight: "wait" });
    expect(await spanOf()).toBe(sha256);
    window.active = true;
    expect([await spanOf(), await spanOf()]).toEqual([sha256, sha256]);
    expect(held.sha256).not.toBe(sha256);
    window.active = false;
    expect(await spanOf()).toBe(sha256);
    expect(held.sha256).toBe(sha256);
    expect(hashes).toHaveLength(3);
    expect(await readdir(join(folder, "copies"))).toEqual([]);
    await rm(folder, { recursive: true });
  });

  it("is left as it is where it shares the trainer's weights", async () => {
    const adopted: string[] = [];
    const inner: Sampler = { ...createFakeSampler(), adopt: async ({ artifact }) => void adopted.push(artifact.kind) };
    const sampler = corruptedSampler(inner, { window: on, tensor: TENSOR, factor: 0.5, folder: "nowhere" });
    const version = { n: 1, sha256: "ab" };
    await sampler.adopt({ version, artifact: { kind: "handle", uri: "here" }, bytes: 0 }, { signal, inFlight: "wait" });
    await sampler.sample(request, { signal });
    expect(adopted).toEqual(["handle"]);
  });
});

describe("runs that take turns", () => {
  it("step one after another, and each turn ends when its run wants the next", async () => {
    let now = 0;
    const rounds: number[] = [];
    const turns = new Turns(
      2,
      () => now,
      (count) => rounds.push(count),
    );
    const order: string[] = [];
    const step = async (run: number, ms: number) => {
      await turns.take(run, signal);
      order.push(`${run} at ${now}`);
      now += ms;
    };
    const second = step(1, 5);
    await step(0, 3);
    expect(order).toEqual(["0 at 0"]);
    const first = step(0, 4);
    await second;
    const again = step(1, 6);
    await first;
    void turns.take(0, signal);
    await again;
    expect(order).toEqual(["0 at 0", "1 at 3", "0 at 8", "1 at 12"]);
    void turns.take(1, signal);
    expect(turns.spent).toEqual([
      [3, 4],
      [5, 6],
    ]);
    expect(rounds).toEqual([1, 2]);
  });

  it("give up their turn with their signal", async () => {
    const turns = new Turns(2, () => 0);
    const abort = new AbortController();
    const waiting = turns.take(1, abort.signal);
    abort.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("are compared by blocks of neighbouring steps", () => {
    const spent = [
      [10, 10, 20, 20, 99],
      [11, 11, 21, 21],
    ];
    expect(pairRatios(spent, 2)).toEqual([
      [1, 1],
      [1.1, 1.05],
    ]);
  });

  it("are run until the interval of each cost is narrow", () => {
    // s = 0.01, t(2, 0.975) = 4.3027: half width 4.3027 · 0.01/√3 = 2.484 %.
    const arm = [1.02, 1.03, 1.04];
    expect(narrowEnough([[1, 1, 1], arm], 2.5)).toBe(true);
    expect(narrowEnough([[1, 1, 1], arm], 2.4)).toBe(false);
    expect(narrowEnough([[1, 1], arm.slice(0, 2)], 99)).toBe(false);
  });
});

describe("what is seen of a fault", () => {
  const observed = (attempts: number, ...facts: readonly (Fact | "begin")[]) => {
    const window = { begun: false, done: 0 };
    const observer = new FaultObserver({ window, attempts, spoilt: new Set(["bad"]) });
    for (const one of facts) {
      if (one === "begin") {
        window.begun = true;
        continue;
      }
      observer.hear(one);
      if (window.begun && (one.type === "step.committed" || one.type === "run.rolledBack")) window.done++;
    }
    return observer.observation;
  };

  it("is a verdict before anything was applied", () => {
    const seen = observed(
      10,
      ...[committed(11), "begin" as const, applied(12, 0), judged(12, "skip", "gradient_spike"), committed(12)],
      ...[judged(13, "rollback", "kl_limit"), rolledBack(12)],
    );
    expect(seen).toEqual({
      detection: { by: "verdict", rule: "gradient_spike", steps: 0, updates: 0 },
      ...{ verdicts: { skip: 1, rollback: 1 }, rollbacks: 1, alarms: [], culprit: null, early: [] },
    });
  });

  it("is an alarm after the step that shows it was applied", () => {
    const seen = observed(
      10,
      ...["begin" as const, applied(12, 2), committed(12), applied(13, 1), alarm(13, "mismatch", ["bad", "good"])],
      ...[committed(13), alarm(14, "kl_spike", ["good"])],
    );
    expect(seen).toMatchObject({
      detection: { by: "alarm", rule: "mismatch kl/update", steps: 1, updates: 3 },
      ...{ alarms: ["mismatch kl/update", "kl_spike kl/update"], culprit: true },
    });
  });

  it("takes the first alarm that names anybody for the culprit", () => {
    const seen = observed(10, "begin", alarm(12, "mismatch"), alarm(12, "kl_spike", ["good"]), alarm(13, "x", ["bad"]));
    expect(seen.culprit).toBe(false);
  });

  it("is not what came before the fault, nor remarks, nor what comes long after", () => {
    expect(observed(1, alarm(3, "kl_spike"), judged(4, "shrink", null), "begin")).toMatchObject({
      ...{ detection: null, alarms: [], early: ["kl_spike kl/update", "because"] },
    });
    expect(observed(1, "begin", alarm(3, "preflight"), alarm(3, "slow", [], "info"))).toMatchObject({
      ...{ detection: null, alarms: [], early: [] },
    });
    const commits = [committed(1), committed(2)];
    expect(observed(1, "begin", commits[0] as Fact, alarm(2, "kl_spike")).detection).toMatchObject({ steps: 1 });
    expect(observed(1, "begin", ...commits, alarm(3, "kl_spike"))).toMatchObject({
      detection: null,
      alarms: ["kl_spike kl/update"],
    });
  });

  it("is all early in a run without a fault", () => {
    const observer = new FaultObserver(null);
    observer.hear(alarm(5, "kl_spike", ["bad"]));
    expect(observer.observation).toMatchObject({ detection: null, culprit: null, early: ["kl_spike kl/update"] });
  });
});

describe("the plan", () => {
  const options = { guard: "standard", fault: [], injections: "10", seeds: "3", steps: "45" };
  const plan = planOf(options);
  const [lasting] = faultsNamed(["judge"]);

  it("has every fault that lasts stopped after ten attempts", () => {
    expect(FAULTS.map(({ name }) => name)).toHaveLength(new Set(FAULTS.map(({ name }) => name)).size);
    for (const { attempts } of FAULTS) expect([1, LASTING_ATTEMPTS]).toContain(attempts);
  });

  it("follows one injection per seed to the end, and the others a little beyond the fault", () => {
    const choices = injectionsOf(plan, lasting as (typeof FAULTS)[number]);
    expect(choices.map(({ from }) => from)).toEqual([12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
    expect(choices.map(({ steps }) => steps)).toEqual([45, 45, 45, 29, 30, 31, 32, 33, 34, 35]);
    expect(choices.map(({ evaluate }) => evaluate)).toEqual([true, true, true, ...Array(7).fill(false)]);
    expect(choices.slice(0, 4).map(({ runSeed }) => runSeed)).toEqual([1, 2, 3, 1003]);
    expect(undisturbed(plan, "plain", "finite").map(({ runSeed, steps }) => [runSeed, steps])).toEqual([
      [1, 45],
      [2, 45],
      [3, 45],
    ]);
  });

  it("is short where it has to be quick", () => {
    expect(planOf({ ...options, quick: true })).toMatchObject({ seeds: 1, injections: 1, steps: 34, unguarded: false });
    expect(plan).toMatchObject({ seeds: 3, injections: 10, unguarded: true });
  });

  it("refuses faults that are not there, and numbers that make no sense", async () => {
    const error = await failure(() => planOf({ ...options, fault: ["gremlin"] }), "WEIR_E_USAGE");
    expect(error.message).toContain("learning-rate");
    await failure(() => planOf({ ...options, steps: "20" }), "WEIR_E_USAGE");
  });
});

const result = (over: Partial<InjectionResult>): InjectionResult => ({
  ...{ detection: null, verdicts: {}, rollbacks: 0, alarms: [], culprit: null, early: [] },
  ...{ status: "completed", error: null, accuracy: null, seconds: 1 },
  ...over,
});

describe("the tables", () => {
  it("count what was found, how soon, and what was done", () => {
    const runs = [
      result({
        detection: { by: "verdict", rule: "kl_limit", steps: 0, updates: 0 },
        ...{ verdicts: { shrink: 2, rollback: 1 }, rollbacks: 1, alarms: ["kl_limit kl/update"], culprit: true },
      }),
      result({
        detection: { by: "alarm", rule: "mismatch mismatch_abs", steps: 2, updates: 3 },
        ...{ alarms: ["mismatch mismatch_abs"], culprit: false, status: "paused" as const },
      }),
      result({ detection: { by: "verdict", rule: "kl_limit", steps: 1, updates: 1 }, verdicts: { shrink: 1 } }),
      result({}),
    ];
    expect(detectionRow({ fault: { name: "judge", inData: true }, runs })).toEqual({
      ...{ fault: "judge", injections: 4, detected: 3, before_commit: 1 },
      // Wilson, z = 1.96: (0.75 + 3.8416/8 ± 1.96·√(0.75·0.25/4 + 3.8416/64)) / (1 + 3.8416/4).
      share: "75 [30, 95]",
      ...{ steps: "1 (2)", updates: "1 (3)", by: "kl_limit × 2, mismatch mismatch_abs × 1" },
      action: "shrink × 3, alarm × 2, paused × 1, rollback × 1, rolled back × 1",
      culprit: "1/2",
    });
    expect(detectionRow({ fault: { name: "temperature", inData: false }, runs: [result({})] })).toMatchObject({
      ...{ detected: 0, steps: "–", updates: "–", by: "–", action: "–", culprit: "–" },
    });
  });

  it("compare final accuracies by pairs, a run without one counting as 0", () => {
    const row = accuracyRow({
      ...{ fault: "judge", guarded: [0.8, 0.9], unguarded: [0.4, null], undisturbed: [0.8, 0.75] },
    });
    // Guarded: ratios 100 and 120 %: mean 110, s = 14.142, half width 12.706 · 10.
    expect(row).toEqual({
      ...{ fault: "judge", seeds: 2, with_guard: 85, without_guard: 20, without_fault: 77.5 },
      ...{ guard_ratio: "110.0 [-17.1, 237.1]", no_guard_ratio: "25.0 [-292.7, 342.7]" },
    });
    expect(ratioText([0.4], [0.8])).toBe("50.0");
    expect(accuracyRow({ fault: "x", guarded: [0.5], unguarded: [], undisturbed: [1] })).toMatchObject({
      ...{ without_guard: null, no_guard_ratio: "–", guard_ratio: "50.0" },
    });
  });

  it("tell what is said of healthy runs", () => {
    const runs = [result({ early: ["kl_spike kl/ref", "kl_limit"] }), result({ early: ["kl_spike kl/ref"] })];
    expect(healthyRow("plain", runs, 90)).toEqual({
      ...{ setting: "plain", runs: 2, steps: 90, alarms: 3, which: "kl_spike kl/ref × 2, kl_limit × 1" },
    });
    expect(counted([])).toBe("–");
  });

  it("take the accuracy of the last evaluation over the scored responses of all buckets", () => {
    const bucket = (n: number, correct: number, unscored: number) => ({ n, correct, unscored, meanReward: null });
    const rl = { "1-10": bucket(10, 4, 2), "11-20": bucket(10, 5, 0) };
    expect(accuracyOf({ heldout: { sft: { "1-10": bucket(10, 0, 0) }, rl } })).toBe(0.5);
    expect(accuracyOf({ heldout: {} })).toBe(null);
    expect(accuracyOf(null)).toBe(null);
  });
});
