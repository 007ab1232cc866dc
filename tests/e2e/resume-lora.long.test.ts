/** Killed runs that train adapters. */
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeResume } from "./resume-suite.js";

describeResume({ engine: { backend: FAST_BACKEND }, lora: { rank: 2, alpha: 4 } });
