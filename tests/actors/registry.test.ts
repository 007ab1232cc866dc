import { describe, expect, it } from "vitest";
import { PartRegistry } from "../../src/actors/parts/registry.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { AdvantageActor } from "../../src/contracts/advantage.js";

const advantage = (kind: string): AdvantageActor => ({
  kind,
  specificationVersion: 1,
  handle: ({ rewards }) => rewards.map(() => 0),
});
const config = { model: { path: "m" }, data: { train: ["t"] } };

describe("replaceable parts", () => {
  it("are built by the name that the configuration gives", () => {
    const registry = new PartRegistry().register("advantage", "zero", () => advantage("zero"));
    expect(registry.build("advantage", { advantage: "zero" }).kind).toBe("zero");
  });

  it("given by value win over any name", () => {
    const registry = new PartRegistry()
      .register("advantage", "zero", () => advantage("zero"))
      .use("advantage", advantage("mine"));
    expect(registry.build("advantage", { advantage: "zero" }).kind).toBe("mine");
  });

  it("with an unknown name, a duplicate, a missing dependency and a late registration are four different errors", async () => {
    const registry = new PartRegistry().register("advantage", "zero", () => advantage("zero"));
    expect(() => registry.build("advantage", { advantage: "zeri" })).toThrow(
      /WEIR_E_ACTOR_UNKNOWN.*did you mean "zero"/s,
    );
    expect(() => registry.register("advantage", "zero", () => advantage("other"))).toThrow(/WEIR_E_ACTOR_DUPLICATE/);
    registry.register("reward", "needy", (need) => {
      need("judge");
      throw new Error("not reached");
    });
    expect(() => registry.build("reward", { reward: "needy" })).toThrow(/WEIR_E_ACTOR_MISSING.*judge/s);
    registry.seal();
    expect(() => registry.register("advantage", "late", () => advantage("late"))).toThrow(/WEIR_E_ACTOR_LATE/);
    expect(() => registry.use("advantage", advantage("late"))).toThrow(/WEIR_E_ACTOR_LATE/);
  });

  it("that lack a method or have another version are refused when they are given", () => {
    expect(() => new PartRegistry().use("advantage", { kind: "x", specificationVersion: 1 } as never)).toThrow(
      /lacks handle/,
    );
    expect(() => new PartRegistry().use("advantage", { ...advantage("x"), specificationVersion: 3 } as never)).toThrow(
      /specificationVersion 3/,
    );
  });

  it("of a system cannot be registered once it has started, and a failed start rejects done too", async () => {
    const system = createTrainingSystem({ ...config, model: { path: "/nowhere" } });
    await expect(system.start()).rejects.toThrow(/WEIR_E_/);
    await expect(system.done).rejects.toThrow(/WEIR_E_/);
    expect(() => system.register("advantage", "late", () => advantage("late"))).toThrow(/WEIR_E_ACTOR_LATE/);
    await expect(system.start()).rejects.toThrow(/WEIR_E_STATE/);
    expect(() => system.pause()).toThrow(/WEIR_E_STATE/);
  });

  it("that the configuration names but nobody registered end the start with WEIR_E_ACTOR_UNKNOWN", async () => {
    const system = createTrainingSystem({ ...config, advantage: { actor: "gpro" } });
    await expect(system.start()).rejects.toThrow(/WEIR_E_ACTOR_UNKNOWN.*did you mean "grpo"/s);
  });
});
