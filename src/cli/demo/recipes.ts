import { WeirError } from "../../errors.js";
import type { DemoRecipe } from "./recipe.js";
import { SMALL_RECIPE } from "./small-recipe.js";
import { SMOLLM2_FULL_RECIPE, SMOLLM2_RECIPE } from "./smollm2-recipe.js";

/** The recipes that `weir demo` knows, the default one first. */
export const RECIPES: readonly DemoRecipe[] = [SMALL_RECIPE, SMOLLM2_RECIPE, SMOLLM2_FULL_RECIPE];

/** The recipe with this name. Throws WEIR_E_USAGE. */
export function recipeOf(name: string): DemoRecipe {
  const recipe = RECIPES.find((candidate) => candidate.name === name);
  if (recipe) return recipe;
  const names = RECIPES.map((candidate) => candidate.name).join(", ");
  throw new WeirError("WEIR_E_USAGE", `--recipe: expected one of ${names}, got "${name}"`, { recipe: name });
}
