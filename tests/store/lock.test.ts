import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { lockHolder, processStartTime, RunLock } from "../../src/store/lock.js";

const fresh = () => mkdtemp(join(tmpdir(), "weir-lock-"));
const quiet = () => undefined;

/** Process id of a process that has ended. */
function deadPid(): number {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  return pid;
}

describe("the run folder's lock", () => {
  it("lets one writer in at a time and names it to the other", async () => {
    const folder = await fresh();
    const lock = RunLock.acquire(folder, quiet);
    expect(lockHolder(folder)?.pid).toBe(process.pid);
    expect(() => RunLock.acquire(folder, quiet)).toThrow(
      expect.objectContaining({
        code: "WEIR_E_RUN_LOCKED",
        message: expect.stringContaining(`process ${process.pid}`),
      }),
    );
    lock.release();
    expect(lockHolder(folder)).toBeNull();
    RunLock.acquire(folder, quiet).release();
    expect(await readdir(folder)).toEqual([]);
  });

  it("takes the lock of a dead process over and says so", async () => {
    const folder = await fresh();
    const pid = deadPid();
    await writeFile(join(folder, "lock"), JSON.stringify({ pid, host: hostname(), startTime: null, token: "x" }));
    const notices: string[] = [];
    const lock = RunLock.acquire(folder, (notice) => notices.push(notice));
    expect(notices).toEqual([`took over the run folder's lock from process ${pid}, which is no longer alive`]);
    expect(JSON.parse(await readFile(join(folder, "lock"), "utf8")).pid).toBe(process.pid);
    lock.release();
  });

  it.runIf(processStartTime(process.pid) !== null)(
    "is not fooled by a process id that was given out again",
    async () => {
      const folder = await fresh();
      await writeFile(
        join(folder, "lock"),
        JSON.stringify({ pid: process.pid, host: hostname(), startTime: "1", token: "x" }),
      );
      expect(lockHolder(folder)).toBeNull();
      RunLock.acquire(folder, quiet).release();
    },
  );

  it("takes over a lock file that cannot be read, and leaves another host's alone", async () => {
    const folder = await fresh();
    await writeFile(join(folder, "lock"), "{");
    RunLock.acquire(folder, quiet).release();
    await writeFile(join(folder, "lock"), JSON.stringify({ pid: 1, host: "elsewhere", startTime: null, token: "x" }));
    expect(() => RunLock.acquire(folder, quiet)).toThrow(/on host "elsewhere"/);
  });
});
