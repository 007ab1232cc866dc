/** Every stored model and step on compiled graphs. */
import { describe } from "vitest";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeModels, describeSteps, storedModels } from "./suite.js";

describe.runIf(FAST_BACKEND === "tensorflow")("compiled graphs", () => {
  describeModels("tensorflow", storedModels(), "compiled");
  describeSteps("tensorflow", "compiled");
});
