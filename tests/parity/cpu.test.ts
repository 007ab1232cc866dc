/** The smallest stored model and the steps on the plain JavaScript backend. */
import { describeModels, describeSteps, storedModels } from "./suite.js";

describeModels("cpu", storedModels(true));
describeSteps("cpu");
