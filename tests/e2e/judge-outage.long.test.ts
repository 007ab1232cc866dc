import { describeOutage } from "./judge-outage-suite.js";

describeOutage();
