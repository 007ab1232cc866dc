import { describe, expect, it } from "vitest";
import { createActor } from "xstate";
import { curriculumMachine } from "../../src/actors/curriculum/machine.js";
import type { CurriculumDecision } from "../../src/contracts/curriculum.js";

const decision = (
  action: CurriculumDecision["action"],
  phase: number,
  nextPhase: number | null,
): CurriculumDecision => ({ action, phase, nextPhase, reason: "test", evidence: { steps: 1 } });

describe("the curriculum machine", () => {
  it("moves through phases by decisions and keeps their bands", () => {
    const actor = createActor(curriculumMachine, { input: { phases: 3 } }).start();
    actor.send({ type: "BEGIN", step: 1 });
    actor.send({ type: "DECIDED", step: 1, decision: decision("hold", 1, null) });
    actor.send({ type: "DECIDED", step: 2, decision: decision("advance", 1, 2) });
    actor.send({ type: "DECIDED", step: 3, decision: decision("fallback", 2, 1) });
    expect(actor.getSnapshot().context).toMatchObject({
      phase: 1,
      bands: [
        { k: 1, fromStep: 1, toStep: 2 },
        { k: 2, fromStep: 3, toStep: 3 },
        { k: 1, fromStep: 4, toStep: null },
      ],
    });
    actor.send({ type: "DECIDED", step: 5, decision: decision("finish", 1, null) });
    expect(actor.getSnapshot().status).toBe("done");
    expect(actor.getSnapshot().context.bands.at(-1)).toEqual({ k: 1, fromStep: 4, toStep: 5 });
  });

  it("ignores decisions for another phase, beyond the last one, or before training", () => {
    const actor = createActor(curriculumMachine, { input: { phases: 2 } }).start();
    actor.send({ type: "DECIDED", step: 1, decision: decision("advance", 1, 2) });
    expect(actor.getSnapshot().value).toBe("waiting");
    actor.send({ type: "BEGIN", step: 1 });
    actor.send({ type: "DECIDED", step: 1, decision: decision("advance", 2, 1) });
    actor.send({ type: "DECIDED", step: 1, decision: decision("advance", 1, 3) });
    expect(actor.getSnapshot().context.phase).toBe(1);
  });

  it("continues from its persisted snapshot as if unbroken", () => {
    const unbroken = createActor(curriculumMachine, { input: { phases: 2 } }).start();
    unbroken.send({ type: "BEGIN", step: 1 });
    const snapshot = JSON.parse(JSON.stringify(unbroken.getPersistedSnapshot()));
    const resumed = createActor(curriculumMachine, { input: { phases: 2 }, snapshot }).start();
    for (const actor of [unbroken, resumed])
      actor.send({ type: "DECIDED", step: 4, decision: decision("advance", 1, 2) });
    expect(resumed.getSnapshot().context).toEqual(unbroken.getSnapshot().context);
    expect(resumed.getSnapshot().context.phase).toBe(2);
  });
});
