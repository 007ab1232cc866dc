/** The equalities on compiled graphs. */
import { describe } from "vitest";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeEqualities } from "./equalities-suite.js";

describe.runIf(FAST_BACKEND === "tensorflow")("compiled", () => {
  describeEqualities({ backend: "tensorflow", threads: 0, executor: "compiled" });
});
