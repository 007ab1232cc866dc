import { describe, it } from "node:test";
import { describeCurriculumActor } from "weir-rl/testing";
import { createShortestFirst } from "./curriculum.js";

describeCurriculumActor({ create: createShortestFirst, framework: { describe, it } });
