/** Killed runs on the plain JavaScript backend. */
import { describeResume } from "./resume-suite.js";

describeResume({ engine: { backend: "cpu" } });
