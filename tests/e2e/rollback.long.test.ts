import { tmpdir } from "node:os";
import { describeKills } from "./rollback-kills.js";

describeKills(30, tmpdir());
