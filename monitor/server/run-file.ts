import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * `monitor.json` in a run folder: where the run's own monitor listens while the run lives. A killed run leaves the file
 * behind, and another program may have got its port since, so an address counts only when the server there says the
 * `instance` that the file names.
 */

const MONITOR_FILE = "monitor.json";

/** Header of `/healthz` that names the server: a random text, new with each start. */
export const INSTANCE_HEADER = "weir-instance";

/** Time that a monitor has to show that it is there, ms. */
const PROBE_MS = 1_500;

const fileSchema = z.object({
  schema_version: z.literal(1),
  url: z.url({ protocol: /^https?$/ }),
  pid: z.number().int(),
  startedAt: z.number(),
  instance: z.string().min(1).max(100),
});
type MonitorFile = z.output<typeof fileSchema>;

/**
 * Tells others where the monitor of this run is; its owner alone may read that. `known` is what the server calls itself;
 * it is asked where that is left out. Returns a function that takes the file
 * away again, unless another monitor has put its own there since.
 */
export async function announceMonitor(runFolder: string, url: string, known?: string): Promise<() => Promise<void>> {
  const path = join(runFolder, MONITOR_FILE);
  const instance = known ?? (await instanceAt(url));
  if (instance === null) return () => Promise.resolve();
  const content: MonitorFile = { schema_version: 1, url, pid: process.pid, startedAt: Date.now(), instance };
  await writeFile(`${path}.part`, `${JSON.stringify(content)}\n`, { mode: 0o600 });
  await rename(`${path}.part`, path);
  return async () => {
    if ((await read(path))?.instance === instance) await rm(path, { force: true });
  };
}

/** The running monitor of a run folder; null when there is none. `say` is told why a file that is there does not count. */
export async function findMonitor(
  runFolder: string,
  say: (remark: string) => void = () => {},
): Promise<MonitorFile | null> {
  const file = await read(join(runFolder, MONITOR_FILE));
  if (file === null) return null;
  const found = await instanceAt(file.url);
  if (found === file.instance) return file;
  const what = found === null ? "no monitor answers there" : "another monitor answers there now";
  say(`${MONITOR_FILE} names ${file.url} (process ${file.pid}), but ${what}; showing what the folder holds`);
  return null;
}

async function read(path: string): Promise<MonitorFile | null> {
  try {
    return fileSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return null;
  }
}

/** What the server at an address calls itself; null when none answers or it is no monitor. Follows no redirect. */
async function instanceAt(url: string): Promise<string | null> {
  try {
    const signal = AbortSignal.timeout(PROBE_MS);
    const response = await fetch(new URL("/healthz", url), { signal, redirect: "error" });
    await response.body?.cancel();
    return response.ok ? response.headers.get(INSTANCE_HEADER) : null;
  } catch {
    return null;
  }
}
