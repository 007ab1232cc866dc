/** The smallest stored model and the steps on wasm. */
import { describeModels, describeSteps, storedModels } from "./suite.js";

describeModels("wasm", storedModels(true));
describeSteps("wasm");
