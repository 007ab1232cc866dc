/** One text per value: JSON with sorted keys, so that equal content has equal hashes however it was written. */
import { createHash } from "node:crypto";
import type { Json } from "../contracts/task.js";

/** JSON with the keys of every object in code-unit order and no blanks. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const tree = value as { readonly [key: string]: Json };
    const entries = Object.keys(tree)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(tree[key] as Json)}`);
    return `{${entries.join(",")}}`;
  }
  return JSON.stringify(value);
}

/** Hex SHA-256 of the canonical JSON of a value. */
export function contentHash(value: Json): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}
