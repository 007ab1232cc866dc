import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { optionReads } from "../helpers/option-reads.js";

/** Type-checking the sources takes seconds, on a busy machine many. */
const PATIENCE_MS = 240_000;

describe("every option", () => {
  it(
    "is read somewhere in the sources, by its own path",
    () => {
      const parsed = ts.getParsedCommandLineOfConfigFile(
        resolve("tsconfig.json"),
        {},
        { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
      );
      const { fileNames = [], options: compilerOptions = {} } = parsed ?? {};
      const { options, unread } = optionReads({
        files: fileNames.filter((file) => file.startsWith(resolve("src"))),
        compilerOptions,
        schemaFile: resolve("src/config/schema.ts"),
        typeName: "Config",
        ignore: (file) => file.startsWith(resolve("src/config")),
      });
      expect(options).toContain("checkpoint.warmupEverySteps");
      expect(options).toContain("phases.maxTokens");
      expect(options).toContain("reward.judge.apiKeyEnv");
      expect(unread).toEqual([]);
    },
    PATIENCE_MS,
  );

  it(
    "that nobody reads is found, also where another one of its name is read",
    () => {
      const folder = mkdtempSync(join(tmpdir(), "weir-options-"));
      const file = (name: string, text: string) => {
        writeFileSync(join(folder, name), text);
        return join(folder, name);
      };
      const schemaFile = file(
        "schema.ts",
        `const section = { monitor: { enabled: true, port: 1 }, sampling: { enabled: true, rounds: 2 }, lists: [{ path: "a", steps: 1 }],
           engine: { threads: 1, path: "x", unused: 1 } };
         export type Config = typeof section;`,
      );
      const reader = file(
        "reader.ts",
        `import type { Config } from "./schema.js";
         interface EngineOptions { readonly threads: number; readonly path: string; readonly unused: number }
         declare function start(options: EngineOptions): void;
         export function use(config: Config, other: { readonly enabled: boolean }, engine: EngineOptions) {
           const { rounds } = config.sampling;
           start({ ...config.engine });
           // A comment about monitor.port is no read, and neither is a whole section.
           const whole = config.monitor;
           return [config.monitor.enabled, other.enabled, rounds, config.lists[0]?.steps, whole, engine.threads];
         }`,
      );
      const { unread } = optionReads({
        files: [schemaFile, reader],
        compilerOptions: { strict: true, noEmit: true, module: ts.ModuleKind.NodeNext, types: [] },
        schemaFile,
        typeName: "Config",
        ignore: (name) => name === schemaFile,
      });
      expect(unread).toEqual(["monitor.port", "sampling.enabled", "lists.path", "engine.path", "engine.unused"]);
    },
    PATIENCE_MS,
  );
});
