/** Every stored model and step on the fastest backend of this machine. */
import { expect, it } from "vitest";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeModels, describeSteps, storedModels } from "./suite.js";

it("finds stored models", () => expect(storedModels().length).toBeGreaterThanOrEqual(3));
describeModels(FAST_BACKEND, storedModels());
describeSteps(FAST_BACKEND);
