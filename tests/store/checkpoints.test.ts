import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CheckpointStore } from "../../src/store/checkpoint-store.js";

async function fresh(keep = 3) {
  const folder = join(await mkdtemp(join(tmpdir(), "weir-checkpoints-")), "checkpoints");
  const open = () => CheckpointStore.open(folder, { keep, clock: () => 1_000 });
  const store = await open();
  const write = (step: number, tags: ("best" | "phase-end")[] = []) =>
    store.write({
      step,
      state: { step, note: "héllo" },
      tags,
      writeInto: async (directory) => {
        await mkdir(join(directory, "model"));
        await writeFile(join(directory, "model", "weights.bin"), Buffer.alloc(64, step));
      },
    });
  return { folder, open, store, write };
}

describe("checkpoints", () => {
  it("publishes folder, state and manifest, and loads the newest", async () => {
    const { store, write, folder } = await fresh();
    expect((await store.latest()).checkpoint).toBeNull();
    await write(5);
    const { directory } = await write(10);
    expect(directory).toBe(join(folder, "step-00010"));
    const manifest = JSON.parse(await readFile(join(directory, "manifest.json"), "utf8"));
    expect(manifest).toEqual({
      schema_version: 1,
      step: 10,
      time: 1_000,
      tags: [],
      order: 2,
      files: {
        "model/weights.bin": { bytes: 64, sha256: "c2a74daea21f6caad6b7794dcfd121cbaa0bddc3407ce5f5fdc1914bd5e7ff90" },
        "state.json": { bytes: expect.any(Number), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      },
    });
    const { checkpoint, passedOver } = await store.latest();
    expect(checkpoint).toMatchObject({ step: 10, state: { step: 10, note: "héllo" }, directory });
    expect(passedOver).toEqual([]);
  });

  it("takes the one that was written last for the newest, also where a rollback led to a lower step", async () => {
    const { store, write } = await fresh();
    for (const step of [3, 4]) await write(step, step === 4 ? ["phase-end"] : []);
    await write(2);
    expect((await store.latest()).checkpoint?.name).toBe("step-00002");
    // The end of the phase lies ahead again: it is kept no longer than others.
    expect((await store.list()).map(({ name }) => name)).toEqual(["step-00002", "step-00004", "step-00003"]);
    await write(3);
    await write(3);
    expect((await store.list()).map(({ name }) => name)).toEqual(["step-00003.2", "step-00003.1", "step-00002"]);
  });

  it.each<[string, (directory: string) => Promise<void>, RegExp]>([
    [
      "a cut file",
      (directory) => truncate(join(directory, "model", "weights.bin"), 10),
      /weights\.bin has 10 bytes, 64/,
    ],
    [
      "a changed file",
      (directory) => writeFile(join(directory, "model", "weights.bin"), Buffer.alloc(64, 1)),
      /does not have the content/,
    ],
    ["a missing file", (directory) => rm(join(directory, "state.json")), /state\.json is missing/],
    ["a missing manifest", (directory) => rm(join(directory, "manifest.json")), /manifest\.json is missing/],
    ["a broken manifest", (directory) => writeFile(join(directory, "manifest.json"), "{"), /manifest\.json/],
  ])("falls back to the one before when the newest has %s, and says why", async (_, damage, reason) => {
    const { store, write } = await fresh();
    await write(5);
    const { directory } = await write(10);
    await damage(directory);
    const { checkpoint, passedOver } = await store.latest();
    expect(checkpoint?.step).toBe(5);
    expect(passedOver).toEqual([{ name: "step-00010", reason: expect.stringMatching(reason) }]);
  });

  it("is a coded error when none is whole", async () => {
    const { store, write } = await fresh();
    await truncate(join((await write(5)).directory, "state.json"), 1);
    await expect(store.latest()).rejects.toMatchObject({
      code: "WEIR_E_CHECKPOINT_DAMAGED",
      message: expect.stringContaining("step-00005 (state.json has 1 bytes"),
    });
  });

  it("gives a second checkpoint of a step its own name and takes the later one", async () => {
    const { store, write } = await fresh();
    await write(5);
    expect((await write(5)).name).toBe("step-00005.1");
    expect((await store.latest()).checkpoint?.name).toBe("step-00005.1");
    expect((await store.list()).map(({ name }) => name)).toEqual(["step-00005.1", "step-00005"]);
  });

  it("keeps the newest, the last best and every phase end", async () => {
    const { store, write } = await fresh(2);
    await write(1, ["best"]);
    await write(2, ["phase-end"]);
    await write(3, ["best"]);
    for (const step of [4, 5, 6]) await write(step);
    expect((await store.list()).map(({ step }) => step)).toEqual([6, 5, 3, 2]);
  });

  it("publishes nothing when writing fails, and clears what a killed writer left", async () => {
    const { store, open, folder } = await fresh();
    const failing = store.write({ step: 1, state: {}, writeInto: () => Promise.reject(new Error("disk full")) });
    await expect(failing).rejects.toThrow("disk full");
    expect(await readdir(folder)).toEqual([]);
    await mkdir(join(folder, ".draft-abc"));
    await writeFile(join(folder, ".draft-abc", "half"), "x");
    await mkdir(join(folder, ".removed-step-00001"));
    await open();
    expect(await readdir(folder)).toEqual([]);
  });

  it("are removed once that is allowed, and what is not removed yet is no checkpoint", async () => {
    const folder = join(await mkdtemp(join(tmpdir(), "weir-checkpoints-")), "checkpoints");
    const asked: string[] = [];
    let allowed = false;
    const mayRemove = async (directory: string) => {
      asked.push((await readdir(directory)).sort().join());
      return allowed;
    };
    const store = await CheckpointStore.open(folder, { keep: 1, clock: () => 0, mayRemove });
    const write = (step: number) =>
      store.write({ step, state: {}, writeInto: (directory) => writeFile(join(directory, "weights"), "w") });
    for (const step of [1, 2, 2]) await write(step);
    expect((await store.list()).map(({ name }) => name)).toEqual(["step-00002.1"]);
    expect(await readdir(folder)).toHaveLength(3);
    // Each is asked about with all that it holds, and again as long as it is there.
    expect(asked).toEqual(Array(3).fill("manifest.json,state.json,weights"));
    await CheckpointStore.open(folder, { keep: 1, clock: () => 0, mayRemove });
    expect(await readdir(folder)).toHaveLength(3);
    allowed = true;
    await store.removeLeftovers();
    expect(await readdir(folder)).toEqual(["step-00002.1"]);
  });
});
