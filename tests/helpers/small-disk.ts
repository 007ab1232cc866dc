import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A real file system of a few megabytes, where this user may mount one (root on Linux); null elsewhere. */
export interface SmallDisk {
  readonly path: string;
  /** Uses up all but `left` bytes. */
  fill(left?: number): void;
  /** Gives back what `fill` took. */
  free(): void;
  remount(how: "ro" | "rw"): void;
  close(): void;
}

const run = (...command: string[]) => spawnSync(command[0] as string, command.slice(1)).status === 0;

export function mountSmallDisk(bytes: number): SmallDisk | null {
  const path = mkdtempSync(join(tmpdir(), "weir-disk-"));
  if (process.platform !== "linux" || !run("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path)) {
    rmSync(path, { recursive: true });
    return null;
  }
  const filler = join(path, "filler");
  return {
    path,
    fill: (left = 0) => {
      const { bavail, bsize } = statfsSync(path);
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - left)));
    },
    free: () => rmSync(filler, { force: true }),
    remount: (how) => void run("mount", "-o", `remount,${how}`, path),
    close: () => {
      run("umount", "-l", path);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Whether small disks can be mounted here; tests that need one are skipped, and counted so, where not. */
export const canMount = (() => {
  const disk = mountSmallDisk(1 << 20);
  disk?.close();
  return disk !== null;
})();
