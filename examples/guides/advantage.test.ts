import { describe, it } from "node:test";
import { describeAdvantageActor } from "weir-rl/testing";
import { entropy, median } from "./advantage.js";

describeAdvantageActor({ create: () => median, framework: { describe, it } });
describeAdvantageActor({ create: () => entropy, framework: { describe, it } });
