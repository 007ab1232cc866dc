import { createFakeEngine } from "../../src/testing.js";
import { describeOutage } from "../e2e/judge-outage-suite.js";

describeOutage(async () => createFakeEngine());
