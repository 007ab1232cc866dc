import { describe, it } from "node:test";
import { describePolicyStore } from "weir-rl/testing";
import { createSharedStore } from "./policy-store.js";

describePolicyStore({ create: createSharedStore, framework: { describe, it } });
