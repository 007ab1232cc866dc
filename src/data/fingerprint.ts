/** The fingerprint of a data set: equal tasks in equal order have equal fingerprints, whatever file they came from. */
import { createHash } from "node:crypto";
import type { Json, Task } from "../contracts/task.js";
import { canonicalJson } from "./canonical.js";
import type { DataRecord } from "./records.js";

/** Hex SHA-256 over the tasks in order, without `promptTokens`, which depends on the tokenizer. */
export function fingerprintTasks(tasks: readonly Task[]): string {
  const hash = createHash("sha256");
  for (const { promptTokens: _, goldAnswers, ...content } of tasks) {
    // A single gold answer has the key of earlier versions, so that fingerprints of such data stay the same.
    const gold = goldAnswers.length === 1 ? { goldAnswer: goldAnswers[0] } : { goldAnswers };
    hash.update(`${canonicalJson({ ...content, ...gold } as unknown as Json)}\n`);
  }
  return hash.digest("hex");
}

/** Hex SHA-256 over raw rows in order, such as those of a warm-up. */
export function fingerprintRecords(records: readonly DataRecord[]): string {
  const hash = createHash("sha256");
  for (const record of records) hash.update(`${canonicalJson(record)}\n`);
  return hash.digest("hex");
}
