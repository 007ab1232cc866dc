/** The equalities on graphs as a GPU runs them, on the processor: functions of the eager context. */
import { beforeAll, describe } from "vitest";
import { functionsState } from "../../src/model/tensor/native/index.js";
import { pretendGpu } from "../helpers/device.js";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeEqualities } from "./equalities-suite.js";

describe.runIf(FAST_BACKEND === "tensorflow")("compiled on the device", () => {
  beforeAll(async () => {
    await pretendGpu();
    // XLA compiles a new shape in seconds, and the equalities have many.
    Object.assign(functionsState(), { xla: "left out by this test" });
  });
  describeEqualities({ backend: "tensorflow", threads: 0, executor: "compiled" });
});
