import type { Guard } from "../../src/contracts/guard.js";
import type { Json } from "../../src/contracts/task.js";

/**
 * A guard that asks for a rollback the first `times[step]` times that it judges that step. What it has asked for is in its snapshot, so
 * that a run that is killed is judged as an unbroken one.
 */
export function rollingGuard(times: Readonly<Record<number, number>>): Guard {
  let asked: Record<number, number> = {};
  return {
    kind: "rolling",
    specificationVersion: 1,
    judge: ({ stage, step }) => {
      const sofar = asked[step] ?? 0;
      if (stage !== "rl" || sofar >= (times[step] ?? 0)) return { action: "commit" };
      asked = { ...asked, [step]: sofar + 1 };
      return { action: "rollback", rule: "test", reason: `step ${step}, time ${sofar + 1}` };
    },
    snapshot: () => asked as unknown as Json,
    restore: (state) => {
      asked = state as unknown as Record<number, number>;
    },
  };
}
