/** The built-in policy losses by the names that a configuration uses. A new one is a file here and a line below. */
import { CISPO } from "./cispo.js";
import { DAPO } from "./dapo.js";
import { DPPO_TV } from "./dppo-tv.js";
import { DR_GRPO } from "./dr-grpo.js";
import { GMPO } from "./gmpo.js";
import { GRPO } from "./grpo.js";
import { GSPO } from "./gspo.js";
import type { PolicyLoss } from "./policy-loss.js";
import { REINFORCE } from "./reinforce.js";
import { SAPO } from "./sapo.js";

const ALL: readonly PolicyLoss[] = [GRPO, DAPO, DR_GRPO, GSPO, CISPO, SAPO, GMPO, DPPO_TV, REINFORCE];

export const POLICY_LOSSES: Readonly<Record<string, PolicyLoss>> = Object.fromEntries(
  ALL.map((loss) => [loss.name, loss]),
);
