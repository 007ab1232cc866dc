import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * `monitor.json` in a run folder: where the run's own monitor listens while the run lives. A killed run leaves the file
 * behind, and another program may have got its port since, so an address counts only when the server there has the
 * `instance` that the file names.
 */

const MONITOR_FILE = "monitor.json";

/** Header of `/healthz` that names the server: a random text, new with each start. */
export const INSTANCE_HEADER = "weir-instance";

/** Time that a monitor has to answer, ms. */
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
 * Writes the address of this run's monitor, readable by its owner only. `known` is the server's identity; by default the
 * server is asked. Returns a function that removes the file, unless another monitor has replaced it.
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

/** The running monitor of a run folder; null when there is none. `say` is called with the reason why an existing file does not count. */
export async function findMonitor(
  runFolder: string,
  say: (remark: string) => void = () => {},
): Promise<MonitorFile | null> {
  const file = await read(join(runFolder, MONITOR_FILE));
  if (file === null) return null;
  const found = await instanceAt(file.url);
  if (found === file.instance) return file;
  const what = found === null ? "no monitor answers there" : "another monitor answers there now";
  say(`${MONITOR_FILE} names ${file.url} (process ${file.pid}), but ${what}; showing the folder instead`);
  return null;
}

async function read(path: string): Promise<MonitorFile | null> {
  try {
    return fileSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return null;
  }
}

/** The identity of the server at an address; null when none answers or it is not a monitor. Follows no redirect. */
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
