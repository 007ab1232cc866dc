import { describeKilledOverlap } from "./resume-async-suite.js";

describeKilledOverlap([["three times", ["step.committed 1", "step.committed 4", "step.committed 5"]]]);
