/** Killed runs on compiled graphs. */
import { describe } from "vitest";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeResume } from "./resume-suite.js";

describe.runIf(FAST_BACKEND === "tensorflow")("compiled", () => {
  describeResume({ engine: { backend: "tensorflow", executor: "compiled" } });
});
