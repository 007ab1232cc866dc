/** What a configuration asks of its sampler, trainer and policy store. */
import { describe, expect, it } from "vitest";
import { createFiniteGuard } from "../../src/actors/guard/guard.js";
import { assertCapabilities, logprobsComparable } from "../../src/actors/run/capabilities.js";
import { artifactKind } from "../../src/actors/update/publisher.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { SamplerCapabilities } from "../../src/contracts/sampler.js";
import type { Trainer, TrainerCapabilities } from "../../src/contracts/trainer.js";
import { createBuiltInLoss } from "../../src/losses/built-in.js";
import { lossSettings } from "../../src/losses/settings.js";
import { createFakePolicyStore, createFakeSampler, createFakeTrainer } from "../../src/testing.js";

const loss = createBuiltInLoss("dapo", lossSettings("dapo"));

function check(
  over: Partial<ConfigInput>,
  able: { readonly sampler?: Partial<SamplerCapabilities>; readonly trainer?: Partial<TrainerCapabilities> },
  guard = createFiniteGuard(),
  rehearsals: Pick<Trainer, "rehearse" | "rehearseSft"> = {},
): void {
  const config = parseConfig({ model: { path: "m" }, data: { train: ["t.jsonl"] }, ...over });
  const [sampler, trainer] = [createFakeSampler(), createFakeTrainer()];
  assertCapabilities(config, {
    sampler: { ...sampler, capabilities: { ...sampler.capabilities, ...able.sampler } },
    trainer: { ...trainer, ...rehearsals, capabilities: { ...trainer.capabilities, ...able.trainer } },
    policyStore: createFakePolicyStore("/nowhere"),
    loss,
    guard,
  });
}

describe("a configuration is refused where its parts cannot do what it asks", () => {
  it("takes parts that can", () => expect(() => check({}, {})).not.toThrow());

  it.each([
    ["loss.algorithm", {}, { trainer: { losses: ["grpo"] } }],
    ["trainer.actor", {}, { trainer: { lossScale: "sum" } }],
    [
      "update.oldLogprobs",
      { update: { oldLogprobs: "sampler" }, rollout: { temperature: 0.7 } },
      { sampler: { logprobBasis: "raw" } },
    ],
    [
      "update.oldLogprobs",
      { update: { oldLogprobs: "sampler" }, rollout: { topP: 0.9 } },
      { sampler: { logprobBasis: "processed" } },
    ],
    [
      "update.correction.importance",
      { update: { correction: { importance: "token" } }, rollout: { temperature: 0.7 } },
      { sampler: { logprobBasis: "raw" } },
    ],
    [
      "update.correction.rejection",
      { update: { correction: { rejection: "seq_mean" } }, rollout: { topP: 0.9 } },
      { sampler: { logprobBasis: "processed" } },
    ],
    ["async.inFlight", { async: { inFlight: "continue" } }, { sampler: { tokenVersions: false } }],
    ["loss.klCoefficient", { loss: { klCoefficient: 0.1 } }, { trainer: { reference: false } }],
    ["loss.klCoefficient", { loss: { klCoefficient: 0.1 } }, { trainer: { reference: "base" } }],
    ["optimiser.maxGradNorm", {}, { trainer: { clipsGradients: false } }],
    ["model.lora", {}, { trainer: { trains: "adapter" } }],
    ["rollout.temperature", { rollout: { temperature: 0.7 } }, { trainer: { temperatures: "one" } }],
    ["loss.entropyCoefficient", { loss: { entropyCoefficient: 0.01 } }, { trainer: { entropies: false } }],
    ["guard.entropyTarget", { guard: { entropyTarget: { target: 0.5 } } }, { trainer: { entropies: false } }],
    ["guard.entropyTarget", { guard: { entropyTarget: { target: 0.5 } } }, { sampler: { entropies: false } }],
    ["guard.aepo", { guard: { aepo: { low: 0.2, high: 0.8 } } }, { sampler: { entropies: false } }],
  ] as const)("%s", (path, over, able) => {
    expect(() => check(over as Partial<ConfigInput>, able as never)).toThrow(`WEIR_E_CAPABILITY: option "${path}"`);
  });

  it("takes what a trainer of adapters at temperature 1 can do", () => {
    const able = { temperatures: "one", entropies: false, reference: "base", trains: "adapter" } as const;
    const config = { model: { path: "m", lora: {} }, loss: { monitorKl: true }, rollout: { temperature: 1 } };
    expect(() => check(config, { trainer: able, sampler: { entropies: false } })).not.toThrow();
  });

  it("a guard of one's own needs a trainer that can throw a gradient away, or rehearse a batch", () => {
    const own = { ...createFiniteGuard(), kind: "mine" };
    const keeps = { trainer: { discardsGradients: false } };
    expect(() => check({}, keeps, own)).toThrow('option "guard.actor"');
    expect(() => check({}, keeps)).not.toThrow();
    const { forwardBackward: rehearse, sftForwardBackward: rehearseSft } = createFakeTrainer();
    const warmup = { warmup: { data: ["sft.jsonl"] } };
    expect(() => check({}, keeps, own, { rehearse })).not.toThrow();
    expect(() => check(warmup, keeps, own, { rehearse })).toThrow('option "guard.actor"');
    expect(() => check(warmup, keeps, own, { rehearse, rehearseSft })).not.toThrow();
  });

  it("a loss of one's own needs a trainer that takes one", () => {
    const trainer = createFakeTrainer();
    const config = parseConfig({ model: { path: "m" }, data: { train: ["t.jsonl"] } });
    const own = { ...loss, evaluate: loss.evaluate };
    expect(() =>
      assertCapabilities(config, {
        sampler: createFakeSampler(),
        trainer: { ...trainer, capabilities: { ...trainer.capabilities, evaluates: false } },
        policyStore: createFakePolicyStore(),
        loss: own,
        guard: createFiniteGuard(),
      }),
    ).toThrow("takes no loss of your own");
  });
});

describe("the form in which weights are handed over", () => {
  const [sampler, trainer, policyStore] = [createFakeSampler(), createFakeTrainer(), createFakePolicyStore("/x")];
  it("is a handle on one server, else the smallest that all three know", () => {
    expect(artifactKind({ sampler, trainer, policyStore })).toBe("handle");
    const other = { ...sampler, kind: "elsewhere" };
    expect(artifactKind({ sampler: other, trainer, policyStore })).toBe("checkpoint");
    const lora = {
      ...trainer,
      capabilities: { ...trainer.capabilities, publishes: ["checkpoint", "adapter"] as const },
    };
    expect(artifactKind({ sampler: other, trainer: lora, policyStore })).toBe("adapter");
  });
  it("is an error where there is none", () => {
    const none = { ...sampler, kind: "elsewhere", capabilities: { ...sampler.capabilities, adopts: [] } };
    expect(() => artifactKind({ sampler: none, trainer, policyStore })).toThrow(
      "WEIR_E_CAPABILITY: weights cannot get",
    );
  });
});

describe("log-probs of a sampler can be compared with the trainer's", () => {
  const comparable = (logprobBasis: SamplerCapabilities["logprobBasis"], rollout: object) => {
    const config = parseConfig({ model: { path: "m" }, data: { train: ["t.jsonl"] }, rollout });
    return logprobsComparable(config, { capabilities: { ...createFakeSampler().capabilities, logprobBasis } });
  };
  it("in its own basis always, in others by the sampling parameters", () => {
    expect(comparable("scaled", { temperature: 0.7, topP: 0.9 })).toBe(true);
    expect([comparable("raw", { temperature: 1 }), comparable("raw", { temperature: 0.7 })]).toEqual([true, false]);
    expect([comparable("processed", { topP: 1 }), comparable("processed", { topP: 0.9 })]).toEqual([true, false]);
  });
});
