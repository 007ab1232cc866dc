/** The fingerprint of a data set: equal tasks in equal order have equal fingerprints, whatever file they came from. */
import { createHash } from "node:crypto";
import type { Json, Task } from "../contracts/task.js";
import { canonicalJson } from "./canonical.js";

/** Hex SHA-256 over the tasks in order, without `promptTokens`, which depends on the tokenizer. */
export function fingerprintTasks(tasks: readonly Task[]): string {
  const hash = createHash("sha256");
  for (const { promptTokens: _, ...content } of tasks) hash.update(`${canonicalJson(content as unknown as Json)}\n`);
  return hash.digest("hex");
}
