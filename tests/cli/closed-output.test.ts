import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";

/** Runs the command in a shell, with `$WEIR` for the program. */
function shell(script: string) {
  const WEIR = `${process.execPath} --import tsx src/cli/main.ts`;
  return spawnSync("bash", ["-c", script], { encoding: "utf8", env: { ...process.env, WEIR } });
}

describe.runIf(process.platform === "linux")("output that cannot be written", () => {
  it("is told by its code, not by a stack, where the disk is full", () => {
    const { status, stderr } = shell("$WEIR train --help > /dev/full");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^weir: WEIR_E_DISK: .*standard output.*ENOSPC/);
    expect(stderr).not.toContain("    at ");
  });

  it("is no fault where its reader has gone", () => {
    const { stdout, stderr } = shell('set -o pipefail; $WEIR train --help | true; echo "status $?"');
    expect(stderr).toBe("");
    expect(stdout).toBe("status 0\n");
  });
});
