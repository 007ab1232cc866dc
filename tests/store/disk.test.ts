import { writeSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { WeirError } from "../../src/errors.js";
import { writeDurably } from "../../src/store/durable.js";
import { readFacts } from "../../src/store/journal.js";
import { readLedger } from "../../src/store/ledger.js";
import { LineFile } from "../../src/store/line-file.js";
import { assertRoomForRun, RunFolder } from "../../src/store/run-folder.js";
import { TensorBoardWriter } from "../../src/store/tensorboard.js";
import { asDiskError } from "../../src/system/disk-error.js";
import { COMMITTED, RESUMED, STARTED } from "../helpers/facts.js";
import { ROOM_FOR_ONE, savedBatch } from "../helpers/saved-batch.js";
import { canMount, mountSmallDisk, type SmallDisk } from "../helpers/small-disk.js";

const errno = (code: string) => Object.assign(new Error(`${code}: injected`), { code, syscall: "write" });

/** Opens a line file whose disk takes `room` bytes and then fails with `code`, until `room` is raised. */
async function onDiskOf(room: number, code: string, buffered: boolean) {
  const folder = await mkdtemp(join(tmpdir(), "weir-lines-"));
  const path = join(folder, "journal.ndjson");
  const disk = { room };
  const file = await LineFile.open(path, () => null, {
    buffered,
    say: () => undefined,
    write: (descriptor, content, offset) => {
      if (disk.room === 0) throw errno(code);
      const count = Math.min(disk.room, content.length - offset);
      disk.room -= count;
      return writeSync(descriptor, content, offset, count);
    },
  });
  return { disk, file, path, text: () => readFile(path, "utf8") };
}

describe("a line that cannot be written", () => {
  // ENOSPC and EDQUOT: full; EIO: a failing disk; EROFS: remounted read-only after errors.
  it.each(["ENOSPC", "EDQUOT", "EIO", "EROFS"])(
    "is undone to the last whole line and told by its code: %s",
    async (code) => {
      const { disk, file, path, text } = await onDiskOf(10, code, false);
      file.append("first"); // 6 bytes
      // Four bytes of the next line fit.
      const failed = () => file.append("second");
      expect(failed).toThrow(WeirError);
      expect(failed).toThrow(new RegExp(`WEIR_E_DISK.*journal\\.ndjson.*${code}`));
      expect(await text()).toBe("first\n");
      expect(file.size).toBe(6);
      disk.room = 1_000;
      file.append("third");
      file.close();
      expect(await readFile(path, "utf8")).toBe("first\nthird\n");
    },
  );

  it("of a buffered file is told at the next call and waits for room, so that index and file agree", async () => {
    const { disk, file, text } = await onDiskOf(3, "ENOSPC", true);
    file.append("one");
    file.append("two");
    await new Promise((resolve) => setImmediate(resolve));
    expect(await text()).toBe("");
    expect(() => file.append("three")).toThrow(/WEIR_E_DISK/);
    disk.room = 1_000;
    file.close();
    expect(await text()).toBe("one\ntwo\n");
  });

  it("cannot come after the end", async () => {
    const { file } = await onDiskOf(100, "ENOSPC", false);
    file.close();
    expect(() => file.append("late")).toThrow(/WEIR_E_STATE.*closed/);
  });
});

describe("errors of the disk", () => {
  it("name path, errno and remedy; other errors stay what they are", () => {
    expect(String(asDiskError(errno("ENOSPC"), "/runs/a"))).toMatch(/WEIR_E_DISK.*"\/runs\/a".*ENOSPC on write.*free/);
    expect(String(asDiskError(errno("EMFILE")))).toMatch(/too many open files.*ulimit -n/);
    const other = errno("EINVAL");
    expect(asDiskError(other)).toBe(other);
    const coded = new WeirError("WEIR_E_STATE", "x");
    expect(asDiskError(coded)).toBe(coded);
    expect(asDiskError("text")).toBe("text");
  });

  it.runIf(process.platform === "linux")("of a root where nothing can be made end the attempt", async () => {
    // Node 20 never returns from a recursive mkdir there.
    await expect(assertRoomForRun("/proc/weir/runs", null)).rejects.toMatchObject({ code: "WEIR_E_DISK" });
  });

  it("of a root that is a file are told before anything is made", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-root-"));
    await writeFile(join(folder, "runs"), "");
    await expect(assertRoomForRun(join(folder, "runs", "deep"), null)).rejects.toMatchObject({ code: "WEIR_E_DISK" });
    await assertRoomForRun(join(folder, "new", "deep"), "id");
    expect(await readdir(folder)).toEqual(["runs"]);
    await expect(assertRoomForRun(join(folder, "runs"), null)).rejects.toThrow(/WEIR_E_DISK.*is a file, not a folder/);
    await mkdir(join(folder, "old", "id", "x"), { recursive: true });
    await expect(assertRoomForRun(join(folder, "old"), "id")).rejects.toMatchObject({ code: "WEIR_E_USAGE" });
  });
});

describe.skipIf(!canMount)("a disk that is full for a moment", () => {
  let disk: SmallDisk | null = null;
  const mounted = () => {
    disk = mountSmallDisk(256 << 10);
    return disk as SmallDisk;
  };
  afterEach(() => disk?.close());

  it("leaves whole lines in journal and ledger and no part of a file", async () => {
    const small = mounted();
    const folder = await RunFolder.create({
      root: join(small.path, "runs"),
      id: "r",
      seed: 1,
      config: {},
      dataset: {},
    });
    const { directory } = folder;
    folder.append("run.started", 0, STARTED);
    const rollout = { rolloutId: "a", groupId: "g", taskId: "t", phase: 1, step: 1, policyVersion: 0 };
    folder.ledger({ ...rollout, state: "issued" });
    await folder.checkpoint(0, (draft) => writeFile(join(draft, "weights"), "w"), {});
    small.fill();
    expect(() => {
      for (let i = 0; i < 100; i++) folder.append("step.committed", 1, { ...COMMITTED, sha256: "x".repeat(500) });
    }).toThrow(/WEIR_E_DISK.*ENOSPC/);
    const parquet = writeDurably(join(directory, "rollouts", "step-00001.parquet"), Buffer.alloc(50_000));
    await expect(parquet).rejects.toMatchObject({ code: "WEIR_E_DISK", details: { errno: "ENOSPC" } });
    const late = folder.checkpoint(1, (draft) => writeFile(join(draft, "weights"), Buffer.alloc(50_000)), {});
    await expect(late).rejects.toMatchObject({ code: "WEIR_E_DISK" });
    await folder.close().catch(() => undefined);
    expect(await readdir(join(directory, "rollouts"))).toEqual([]);
    expect(await readdir(join(directory, "checkpoints"))).toEqual(["step-00000"]);
    expect((await readFile(join(directory, "journal.ndjson"), "utf8")).endsWith("\n")).toBe(true);

    small.free();
    const notices: string[] = [];
    const resumed = await RunFolder.open(directory, { say: (notice) => notices.push(notice) });
    const latest = await resumed.latest();
    await resumed.rollBack(latest?.state ?? null);
    expect([...readFacts(join(directory, "journal.ndjson"))].map(({ type }) => type)).toEqual(["run.started"]);
    expect([...readLedger(join(directory, "ledger.ndjson"))]).toHaveLength(1);
    expect(resumed.append("run.resumed", 0, RESUMED).seq).toBe(2);
    await resumed.close();
  });

  it("leaves whole records in a TensorBoard file", () => {
    const small = mounted();
    const writer = new TensorBoardWriter(join(small.path, "tb"), () => 1_000);
    writer.scalars(1, { a: 1 });
    small.fill();
    expect(() => {
      for (let i = 0; i < 1_000; i++) writer.scalars(2, { "a/long/name": i });
    }).toThrow(/WEIR_E_DISK/);
    small.free();
    writer.scalars(3, { a: 3 });
    writer.close();
  });

  it("leaves no folder of a run that could not be made, and a read-only disk is told", async () => {
    const small = mounted();
    small.fill();
    const make = () => RunFolder.create({ root: small.path, id: "r", seed: 1, config: {}, dataset: {} });
    await expect(make()).rejects.toMatchObject({ code: "WEIR_E_DISK", details: { errno: "ENOSPC" } });
    expect(await readdir(small.path)).toEqual(["filler"]);
    small.free();
    small.remount("ro");
    await expect(make()).rejects.toMatchObject({ code: "WEIR_E_DISK", details: { errno: "EROFS" } });
    await expect(assertRoomForRun(small.path, null)).rejects.toMatchObject({ code: "WEIR_E_DISK" });
  });

  it("is closed in order when it has become read-only in the middle of a run", async () => {
    const small = mounted();
    const folder = await RunFolder.create({ root: small.path, id: "r", seed: 1, config: {}, dataset: {} });
    // Descriptors that are open for writing keep a mount from becoming read-only, so this only happens to new files.
    await folder.close();
    small.remount("ro");
    await expect(RunFolder.open(folder.directory)).rejects.toMatchObject({ code: "WEIR_E_DISK" });
    small.remount("rw");
    await (await RunFolder.open(folder.directory)).close();
  });
});

describe("damage in journal or ledger", () => {
  /** Two steps and a checkpoint, then two more facts and a ledger entry. */
  async function withCheckpoint() {
    const root = await mkdtemp(join(tmpdir(), "weir-damage-"));
    const folder = await RunFolder.create({ root, id: "r", seed: 1, config: {}, dataset: {} });
    const entry = { groupId: "g", taskId: "t", phase: 1, step: 1, policyVersion: 0, state: "issued" } as const;
    folder.append("run.started", 0, STARTED);
    folder.append("step.committed", 1, COMMITTED);
    folder.ledger({ ...entry, rolloutId: "a" });
    await folder.checkpoint(1, (draft) => writeFile(join(draft, "weights"), "w"), {});
    folder.append("checkpoint.written", 2, { step: 2, path: "checkpoints" });
    folder.append("checkpoint.written", 2, { step: 2, path: "checkpoints" });
    folder.ledger({ ...entry, rolloutId: "b" });
    folder.ledger({ ...entry, rolloutId: "c" });
    await folder.close();
    const { directory } = folder;
    const edit = async (name: string, change: (lines: string[]) => void) => {
      const lines = (await readFile(join(directory, name), "utf8")).split("\n");
      change(lines);
      await writeFile(join(directory, name), lines.join("\n"));
    };
    return { directory, edit };
  }

  it.each([
    ["journal.ndjson", 2, "no fact at all"],
    ["ledger.ndjson", 1, '{"schema_version":1,"half'],
    ["ledger.ndjson", 1, "\0\0\0\0"],
  ])("behind the newest checkpoint is moved aside with a remark: %s", async (name, line, garbage) => {
    const { directory, edit } = await withCheckpoint();
    await edit(name, (lines) => {
      lines[line] = garbage;
    });
    const folder = await RunFolder.open(directory);
    const latest = await folder.latest();
    await folder.rollBack(latest?.state ?? null);
    expect([...folder.journal.read()].map(({ type }) => type)).toEqual(["run.started", "step.committed"]);
    expect(folder.ledgerCounts().issued).toBe(1);
    const stem = name.replace(".ndjson", "");
    expect(folder.takeRemarks()[0]).toMatch(
      new RegExp(
        `${stem}\\.ndjson: line ${line + 1}, written after the newest checkpoint, is damaged.*${stem}\\.damaged-1`,
      ),
    );
    expect(folder.takeRemarks()).toEqual([]);
    await folder.close();
    expect(await readFile(join(directory, `${stem}.damaged-1.ndjson`), "utf8")).toContain(garbage);
  });

  it.each([
    ["journal.ndjson", 1],
    ["ledger.ndjson", 0],
  ])("before it is refused, naming file and line: %s", async (name, line) => {
    const { directory, edit } = await withCheckpoint();
    await edit(name, (lines) => {
      lines[line] = "{}";
    });
    await expect(RunFolder.open(directory)).rejects.toMatchObject({
      code: "WEIR_E_RUN_FOLDER",
      details: { line: line + 1 },
    });
    // The lock is free again.
    await expect(RunFolder.open(directory)).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
  });

  it("of a run without a checkpoint costs only what would be done again", async () => {
    const { directory, edit } = await withCheckpoint();
    const { rm } = await import("node:fs/promises");
    await rm(join(directory, "checkpoints"), { recursive: true });
    await edit("journal.ndjson", (lines) => {
      lines[1] = "damaged";
    });
    const folder = await RunFolder.open(directory);
    await folder.rollBack(null);
    expect([...folder.journal.read()].map(({ type }) => type)).toEqual(["run.started"]);
    await folder.close();
  });
});

describe("what a killed writer leaves", () => {
  it("goes: temporary files, also those of a process with the same id", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-left-"));
    const folder = await RunFolder.create({ root, id: "r", seed: 1, config: {}, dataset: {} });
    await folder.close();
    const { directory } = folder;
    await appendFile(join(directory, `.${process.pid}.0.tmp`), "half");
    await appendFile(join(directory, "rollouts", `.${process.pid}.1.tmp`), "half");
    await (await RunFolder.open(directory)).close();
    expect((await readdir(directory)).sort()).toEqual([
      "checkpoints",
      "config.json",
      "journal.ndjson",
      "ledger.ndjson",
      "rollouts",
    ]);
    expect(await readdir(join(directory, "rollouts"))).toEqual([]);
  });
});

describe("file modes", () => {
  it("keep prompts and answers to their owner, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const root = await mkdtemp(join(tmpdir(), "weir-modes-"));
      const folder = await RunFolder.create({ root, id: "r", seed: 1, config: {}, dataset: {} });
      folder.append("run.started", 0, STARTED);
      await folder.rollouts(1, []);
      const batch = await folder.saveBatch(savedBatch(), ROOM_FOR_ONE);
      const checkpoint = await folder.checkpoint(1, (draft) => writeFile(join(draft, "weights"), "w"), {});
      await folder.writeReport({});
      await folder.close();
      const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
      const inside = (name: string) => modeOf(join(folder.directory, name));
      expect(await modeOf(folder.directory)).toBe("700");
      for (const name of [
        "config.json",
        "journal.ndjson",
        "ledger.ndjson",
        "rollouts/step-00001.parquet",
        "report.json",
      ])
        expect(`${name} ${await inside(name)}`).toBe(`${name} 600`);
      for (const name of ["rollouts", "checkpoints", "batches"])
        expect(`${name} ${await inside(name)}`).toBe(`${name} 700`);
      expect(await modeOf(batch.path)).toBe("700");
      expect(await modeOf(join(batch.path, "batch.json"))).toBe("600");
      expect(await modeOf(checkpoint)).toBe("700");
      expect(await modeOf(join(checkpoint, "state.json"))).toBe("600");
    } finally {
      process.umask(before);
    }
  });
});
