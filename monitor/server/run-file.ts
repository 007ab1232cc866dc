import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/** `monitor.json` in a run folder: where the run's own monitor listens while the run lives. */

const MONITOR_FILE = "monitor.json";

/** Time that a monitor has to show that it is there, ms. */
const PROBE_MS = 1_500;

const fileSchema = z.object({
  schema_version: z.literal(1),
  url: z.url(),
  pid: z.number().int(),
  startedAt: z.number(),
});
type MonitorFile = z.output<typeof fileSchema>;

/** Tells others where the monitor of this run is. Returns a function that takes the file away again. */
export async function announceMonitor(runFolder: string, url: string, clock = Date.now): Promise<() => Promise<void>> {
  const path = join(runFolder, MONITOR_FILE);
  const content: MonitorFile = { schema_version: 1, url, pid: process.pid, startedAt: clock() };
  await writeFile(`${path}.part`, `${JSON.stringify(content)}\n`);
  await rename(`${path}.part`, path);
  return () => rm(path, { force: true });
}

/** The running monitor of a run folder; null when there is none or it does not answer. */
export async function findMonitor(runFolder: string): Promise<MonitorFile | null> {
  try {
    const file = fileSchema.parse(JSON.parse(await readFile(join(runFolder, MONITOR_FILE), "utf8")));
    const response = await fetch(new URL("/healthz", file.url), { signal: AbortSignal.timeout(PROBE_MS) });
    await response.text();
    return response.ok ? file : null;
  } catch {
    return null;
  }
}
