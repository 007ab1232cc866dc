import { mkdtemp, readFile, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { openRunLog } from "../../src/actors/run/run-log.js";

/** Lets the event loop go round until something holds. */
async function until(test: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await test())) await setImmediate();
}

describe("the log of a run", () => {
  it("goes to a file that only its owner reads, and takes nothing after the end", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-log-"));
    const path = join(folder, "log.ndjson");
    const { log, close } = openRunLog({ level: "info", file: true }, folder);
    log.info({ actor: "test" }, "first");
    close();
    log.info("late");
    // The file is made beside the run.
    await until(() =>
      readFile(path, "utf8").then(
        (text) => text.endsWith("\n"),
        () => false,
      ),
    );
    const lines = (await readFile(path, "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ run: folder, actor: "test", msg: "first" }]);
    expect(((await stat(path)).mode & 0o777).toString(8)).toBe("600");
  });

  it.runIf(process.platform === "linux")("that cannot be written is told once and ends nothing", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-log-"));
    // Every write to this device fails with ENOSPC.
    await symlink("/dev/full", join(folder, "log.ndjson"));
    const complaints: string[] = [];
    const { log, close } = openRunLog({ level: "info", file: true }, folder, (text) => complaints.push(text));
    log.info("lost");
    await until(() => complaints.length > 0);
    for (let i = 0; i < 50; i++) {
      log.info("x".repeat(100_000));
      await setImmediate();
    }
    close();
    await setImmediate();
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toMatch(/lines of the log are lost: WEIR_E_DISK.*log\.ndjson.*ENOSPC/);
  });
});
