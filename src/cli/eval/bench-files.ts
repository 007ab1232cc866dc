/** Which benchmark is read from which file: `NAME=FILE`, a file named after its benchmark, or a name in a folder. */
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { nearest } from "../../config/load.js";
import { WeirError } from "../../errors.js";

export interface BenchFile {
  readonly name: string;
  readonly file: string;
}

const ENDINGS = [".jsonl", ".json", ".parquet", ".jsonl.gz"];

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Errors: WEIR_E_USAGE for a name that is no benchmark's or comes twice; WEIR_E_FILE_MISSING. */
export async function benchFiles(
  specs: readonly string[],
  known: readonly string[],
  folder: string | null,
): Promise<BenchFile[]> {
  const found: BenchFile[] = [];
  for (const spec of specs) {
    const one = await benchFile(spec, known, folder);
    if (found.some(({ name }) => name === one.name))
      throw new WeirError("WEIR_E_USAGE", `--bench: "${one.name}" is given twice; give each benchmark once`, {
        name: one.name,
      });
    found.push(one);
  }
  return found;
}

async function benchFile(spec: string, known: readonly string[], folder: string | null): Promise<BenchFile> {
  const cut = spec.indexOf("=");
  const name = spec.slice(0, cut);
  if (cut > 0 && known.includes(name)) return existing({ name, file: spec.slice(cut + 1) });
  if (await isFile(spec)) return { name: nameOfFile(spec, known), file: spec };
  if (!known.includes(spec)) throw unknownName(cut > 0 ? name : spec, known);
  if (folder === null)
    throw new WeirError(
      "WEIR_E_USAGE",
      `--bench ${spec} names no file; give ${spec}=FILE, or --bench-data with the folder that holds ${spec}.jsonl`,
      { name: spec },
    );
  for (const ending of ENDINGS)
    if (await isFile(join(folder, `${spec}${ending}`))) return { name: spec, file: join(folder, `${spec}${ending}`) };
  const names = ENDINGS.map((ending) => `${spec}${ending}`).join(", ");
  throw new WeirError("WEIR_E_FILE_MISSING", `${folder} holds none of ${names}`, { path: folder });
}

async function existing(bench: BenchFile): Promise<BenchFile> {
  if (await isFile(bench.file)) return bench;
  throw new WeirError("WEIR_E_FILE_MISSING", `${bench.file} does not exist; it was given for "${bench.name}"`, {
    path: bench.file,
  });
}

/** The longest name that the file's own begins with, before its end or a separator. */
function nameOfFile(file: string, known: readonly string[]): string {
  const stem = basename(file).toLowerCase();
  const fits = (name: string) => stem.startsWith(name.toLowerCase()) && /^[._-]/.test(stem.slice(name.length));
  const name = known.filter(fits).sort((a, b) => b.length - a.length)[0];
  if (name !== undefined) return name;
  throw new WeirError(
    "WEIR_E_USAGE",
    `--bench ${file}: its name is none of a benchmark; give NAME=${file} with one of ${known.join(", ")}`,
    { file },
  );
}

function unknownName(name: string, known: readonly string[]): WeirError {
  const close = nearest(name, known);
  return new WeirError(
    "WEIR_E_USAGE",
    `--bench: "${name}" is neither a file nor a benchmark${close ? `; did you mean "${close}"?` : ""} (known: ${known.join(", ")}; one of your own comes from --parts)`,
    { name, known },
  );
}
