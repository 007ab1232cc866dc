/** Folders of snapshots, in memory and on disk. */
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { SnapshotFolder } from "../../src/store/snapshot-folder.js";

const NOW = Date.UTC(2026, 0, 10);
const DAY_MS = 24 * 3_600_000;
let root: string;
let runDirectory: string;
let memory: string;
let free: number;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "weir-snapshot-store-"));
  [runDirectory, memory, free] = [join(root, "runs", "r"), join(root, "memory"), 1_000];
  await mkdir(runDirectory, { recursive: true });
  await mkdir(memory);
});

const open = (over: { readonly preferMemory?: boolean; readonly directory?: string } = {}) =>
  new SnapshotFolder(
    { runDirectory: over.directory ?? runDirectory, preferMemory: over.preferMemory ?? true, clock: () => NOW },
    { memoryFolders: async () => [memory], free: async () => free },
  );
const weights = (content: string) => async (folder: string) => writeFile(join(folder, "weights"), content);
const inMemory = async () => {
  const [user = ""] = await readdir(memory);
  return user === "" ? [] : readdir(join(memory, user));
};

describe("snapshots", () => {
  it("lie in memory, are found again after a kill, and are gone at the end", async () => {
    await open().write("step-00001-1", weights("one"), { step: 1 }, 100);
    // Another process of the same run.
    const again = open();
    const found = await again.read("step-00001-1");
    expect(found?.state).toEqual({ step: 1 });
    expect(await readFile(join(found?.directory as string, "weights"), "utf8")).toBe("one");
    expect(found?.directory.startsWith(memory)).toBe(true);
    expect(await again.read("step-00009-1")).toBeNull();
    await again.close();
    expect(await readdir(memory)).toEqual([]);
  });

  it("lie in the run folder where memory has no room for them, or they are to", async () => {
    free = 150;
    const folder = open();
    await folder.write("a", weights("small"), {}, 70);
    await folder.write("b", weights("large"), {}, 80);
    expect(await readdir(join(runDirectory, "snapshots"))).toEqual(["b"]);
    expect((await folder.read("b"))?.directory).toBe(join(runDirectory, "snapshots", "b"));
    await open({ preferMemory: false }).write("c", weights("asked for"), {}, 1);
    expect((await readdir(join(runDirectory, "snapshots"))).sort()).toEqual(["b", "c"]);
  });

  it("are whole or absent", async () => {
    const folder = open({ preferMemory: false });
    const half = async (into: string) => {
      await weights("half")(into);
      throw new Error("the trainer failed");
    };
    await expect(folder.write("a", half, {}, 1)).rejects.toThrow("the trainer failed");
    expect(await readdir(join(runDirectory, "snapshots"))).toEqual([]);
    await folder.write("b", weights("whole"), {}, 1);
    await writeFile(join(runDirectory, "snapshots", "b", "weights"), "torn!");
    expect(await folder.read("b")).toBeNull();
  });

  it("are removed but for those that are named", async () => {
    const folder = open();
    for (const name of ["a", "b", "c"]) await folder.write(name, weights(name), {}, 1);
    await folder.keep(new Set(["b"]));
    expect([await folder.read("a"), await folder.read("c")]).toEqual([null, null]);
    expect((await folder.read("b"))?.state).toEqual({});
  });

  it("are removed once that is allowed, at the end in any case", async () => {
    let allowed = false;
    const asked: string[] = [];
    const folder = new SnapshotFolder(
      {
        ...{ runDirectory, preferMemory: true, clock: () => NOW },
        mayRemove: async (directory) => {
          asked.push(await readFile(join(directory, "weights"), "utf8"));
          return allowed;
        },
      },
      { memoryFolders: async () => [memory], free: async () => free },
    );
    for (const name of ["a", "b"]) await folder.write(name, weights(name), {}, 1);
    await folder.keep(new Set(["b"]));
    expect((await folder.read("a"))?.state).toEqual({});
    allowed = true;
    await folder.keep(new Set(["b"]));
    expect(await folder.read("a")).toBeNull();
    allowed = false;
    await folder.close();
    expect(asked).toEqual(["a", "a", "b"]);
    expect(await readdir(memory)).toEqual([]);
  });

  it("of killed runs wait for a day, or as long as the run folder is there", async () => {
    const other = join(root, "runs", "other");
    const gone = join(root, "runs", "gone");
    for (const directory of [other, gone]) {
      await mkdir(directory);
      await open({ directory }).write("a", weights("a"), {}, 1);
    }
    await rm(gone, { recursive: true });
    await open().write("a", weights("a"), {}, 1);
    expect((await inMemory()).map((name) => name.split("-")[0]).sort()).toEqual(["other", "r"]);
    const user = join(memory, (await readdir(memory))[0] as string);
    for (const name of await readdir(user)) {
      const old = new Date(NOW - DAY_MS - 1_000);
      await utimes(join(user, name), old, old);
    }
    await open().write("b", weights("b"), {}, 1);
    expect((await inMemory()).map((name) => name.split("-")[0])).toEqual(["r"]);
  });
});
