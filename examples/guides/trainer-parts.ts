// A factory answers at once, so what takes time stands before the export.
import type { PartDefinitions } from "weir-rl";
import { createSlowing } from "./trainer.js";

const slowing = await createSlowing("model");

export const parts: PartDefinitions = { trainer: { slowing } };
