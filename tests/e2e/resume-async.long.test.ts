import { describeKilledOverlap } from "./resume-async-suite.js";

describeKilledOverlap([
  ["after its third step", ["step.committed 3"]],
  ["during a checkpoint and again in the next step", ["checkpoint.written 2", "step.committed 3"]],
]);
