import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startEngine } from "../../src/model/engine/host.js";
import { ENGINE_OPTIONS, writeRandomModel } from "../helpers/engines.js";

it("an engine whose start is cancelled ends before it has loaded anything", async () => {
  const modelDir = await writeRandomModel(await mkdtemp(join(tmpdir(), "weir-start-")));
  const cancel = new AbortController();
  const starting = startEngine({ modelDir, options: { ...ENGINE_OPTIONS, backend: "cpu" }, signal: cancel.signal });
  cancel.abort();
  await expect(starting).rejects.toThrow("its start was cancelled");
  const late = startEngine({ modelDir, options: ENGINE_OPTIONS, signal: cancel.signal });
  await expect(late).rejects.toThrow("aborted");
  await rm(modelDir, { recursive: true });
});
