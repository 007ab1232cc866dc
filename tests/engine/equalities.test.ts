/** The equalities on the plain JavaScript backend. */
import { describeEqualities } from "./equalities-suite.js";

describeEqualities({ backend: "cpu", threads: 0 });
