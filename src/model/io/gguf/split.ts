/**
 * A GGUF model in several files (`NAME-00001-of-00003.gguf`, as llama.cpp's gguf-split writes them) as one: metadata of the
 * first part, tensors of all. Invariant: every part is there, says its own number, and no tensor is in two of them.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { WeirError } from "../../../errors.js";
import { type GgufHead, type GgufTensor, readGgufHead } from "./reader.js";

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

const numberAt = (head: GgufHead, key: string): number | null => {
  const value = head.metadata.get(key);
  return typeof value === "number" || typeof value === "bigint" ? Number(value) : null;
};

function fault(path: string, message: string): WeirError {
  return new WeirError("WEIR_E_GGUF", `${path}: ${message}`, { path });
}

/** Paths of all parts, by the name of one of them. */
function partPaths(path: string, number: number, count: number): string[] {
  const name = PART_NAME.exec(basename(path));
  const place = `part ${number} of ${count} of a split model (split.count)`;
  if (name === null || Number(name[3]) !== count)
    throw fault(
      path,
      `is ${place}, and the other parts are found by names such as NAME-00001-of-${String(count).padStart(5, "0")}.gguf. Give the files their original names.`,
    );
  const paths = Array.from({ length: count }, (_, index) =>
    join(dirname(path), `${name[1]}-${String(index + 1).padStart(5, "0")}-of-${name[3]}.gguf`),
  );
  const missing = paths.filter((part) => !existsSync(part));
  if (missing.length > 0)
    throw fault(
      path,
      `is ${place}; ${missing.map((part) => basename(part)).join(", ")} ${missing.length === 1 ? "is" : "are"} missing next to it. Fetch all parts into one folder.`,
    );
  return paths;
}

/**
 * Opens a GGUF file, with its other parts where it is one of several. Throws as `readGgufHead`, and WEIR_E_GGUF when a part
 * is missing or is another part than its name says, or tensors are missing or occur twice.
 */
export function readGgufModel(path: string): GgufHead {
  const opened = readGgufHead(path);
  const count = numberAt(opened, "split.count") ?? 1;
  if (count <= 1) return opened;
  const paths = partPaths(path, (numberAt(opened, "split.no") ?? 0) + 1, count);
  const tensors = new Map<string, GgufTensor>();
  let first = opened;
  for (const [index, part] of paths.entries()) {
    const head = readGgufHead(part);
    if (index === 0) first = head;
    if (numberAt(head, "split.no") !== index || numberAt(head, "split.count") !== count)
      throw fault(part, `is not part ${index + 1} of ${count}, as its name says. Fetch all parts of one model.`);
    for (const [name, tensor] of head.tensors) {
      if (tensors.has(name))
        throw fault(part, `holds tensor ${name}, which an earlier part has too. Fetch all parts again.`);
      tensors.set(name, tensor);
    }
  }
  const expected = numberAt(first, "split.tensors.count");
  if (expected !== null && expected !== tensors.size)
    throw fault(
      path,
      `the parts hold ${tensors.size} tensors, split.tensors.count says ${expected}. Fetch all parts again.`,
    );
  return { path: first.path, metadata: first.metadata, tensors };
}
