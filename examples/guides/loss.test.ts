import { describe, it } from "node:test";
import { describeLossPart } from "weir-rl/testing";
import { cut } from "./loss.js";

describeLossPart({ create: () => cut, framework: { describe, it } });
