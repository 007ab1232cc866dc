/** A Python that has transformers, for checks that need the original; most machines have none. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { OWN_FIXTURES } from "./fixtures.js";

/** WEIR_TEST_PYTHON names the interpreter of a virtual environment. */
const PYTHON = process.env.WEIR_TEST_PYTHON ?? "python3";

/** Whether that Python can import transformers. */
export function hasTransformers(): boolean {
  const probe =
    "import importlib.util as u, sys; sys.exit(0 if u.find_spec('transformers') and u.find_spec('tokenizers') else 1)";
  return spawnSync(PYTHON, ["-c", probe]).status === 0;
}

/** Ids of texts by AutoTokenizer, for each folder in turn. Throws with what Python wrote to its standard error. */
export function autoTokenizerIds(folders: readonly string[], texts: readonly string[]): readonly number[][][] {
  const script = join(OWN_FIXTURES, "tokenizers", "auto_tokenizer.py");
  const result = spawnSync(PYTHON, [script, "ids", ...folders], {
    input: JSON.stringify(texts),
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (result.status !== 0) throw new Error(result.stderr);
  const ids = JSON.parse(result.stdout) as Readonly<Record<string, number[][]>>;
  return folders.map((folder) => ids[folder] as number[][]);
}
