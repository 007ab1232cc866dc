/**
 * How a reader runs weir where this copy of it stands. Another package on npm is called `weir`, so no message may name a
 * command that could fetch it: in a clone it is the npm script, in a project npm's runner that installs nothing.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE_ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * The command line that runs `weir` with the arguments given, ready to be pasted.
 * @param {string} args e.g. `setup --force`
 * @param {string} root folder of the package; a clone has its sources, an installed package has not
 */
export function weirCommand(args, root = PACKAGE_ROOT) {
  return existsSync(join(root, "tsconfig.build.json")) ? `npm run weir -- ${args}` : `npx --no -- weir ${args}`;
}
