// A curriculum: the tasks of a phase from the shortest to the longest, again and again; each phase lasts its number of steps.
import { type CurriculumActor, type CurriculumSetup, type Json, type PartDefinitions, WeirError } from "weir-rl";

/** Everything that the next choice depends on; it has to survive JSON. */
type State = { picks: Record<string, number>; visits: Record<string, number>; steps: Record<string, number> };

export function createShortestFirst(): CurriculumActor {
  let setup: CurriculumSetup = { tasks: [], phases: [], seed: 0 };
  let state: State = { picks: {}, visits: {}, steps: {} };
  const plus = (counts: Record<string, number>, key: string | number) => {
    const before = counts[key] ?? 0;
    counts[key] = before + 1;
    return before;
  };
  return {
    kind: "shortest_first",
    specificationVersion: 1,
    setup(given) {
      setup = given;
      state = { picks: {}, visits: {}, steps: {} };
    },
    next(phase) {
      const { minTokens = 0, maxTokens = 0 } = setup.phases.find(({ k }) => k === phase) ?? {};
      const tasks = setup.tasks
        .filter(({ promptTokens }) => promptTokens > minTokens && promptTokens <= maxTokens)
        .sort((a, b) => a.promptTokens - b.promptTokens);
      const task = tasks.at((state.picks[phase] ?? 0) % Math.max(1, tasks.length));
      if (task === undefined)
        throw new WeirError("WEIR_E_EMPTY_PHASE", `no task has more than ${minTokens} and at most ${maxTokens} tokens`);
      plus(state.picks, phase);
      return { taskId: task.id, carried: false, visit: plus(state.visits, task.id) };
    },
    observe() {},
    decide({ phase }) {
      const done = plus(state.steps, phase) + 1;
      const planned = setup.phases.find(({ k }) => k === phase)?.steps ?? 0;
      const last = phase === Math.max(...setup.phases.map(({ k }) => k));
      const action = done < planned ? "hold" : last ? "finish" : "advance";
      const reason = `${done} of ${planned} steps`;
      return { action, phase, nextPhase: action === "advance" ? phase + 1 : null, reason, evidence: { done, planned } };
    },
    snapshot: () => structuredClone(state) as unknown as Json,
    restore(snapshot) {
      state = structuredClone(snapshot) as unknown as State;
    },
  };
}

export const parts: PartDefinitions = { curriculum: { shortest_first: createShortestFirst } };
