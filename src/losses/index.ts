/** The built-in policy losses by the names that a configuration uses. A new one is a file here and a line below. */
import type { LossName } from "../contracts/loss.js";
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

export const POLICY_LOSSES: Readonly<Record<LossName, PolicyLoss>> = {
  grpo: GRPO,
  dapo: DAPO,
  dr_grpo: DR_GRPO,
  gspo: GSPO,
  cispo: CISPO,
  sapo: SAPO,
  gmpo: GMPO,
  dppo_tv: DPPO_TV,
  reinforce: REINFORCE,
};
