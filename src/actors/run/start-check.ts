import { access, constants, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { assertSafe } from "../../../monitor/server/security.js";
import type { Config } from "../../config/schema.js";
import { assertFormat } from "../../data/formats/index.js";
import { WeirError } from "../../errors.js";
import { assertRoomForRun } from "../../store/index.js";
import { environmentSecret } from "../../system/environment-secret.js";

/**
 * Problems outside the run itself, found before a model is loaded or anything is written: the monitor's
 * settings, files that are not there, a run folder that cannot be made. Writes nothing.
 */

/** Errors: WEIR_E_CONFIG, WEIR_E_MONITOR_UNSAFE, WEIR_E_MONITOR_ADDRESS, WEIR_E_FILE_MISSING, WEIR_E_USAGE, WEIR_E_DISK. */
export async function assertStartable(config: Config, resume: string | undefined): Promise<void> {
  assertFormat(config.data.format);
  await assertMonitorPossible(config.monitor);
  webhookToken(config.monitor);
  await assertFolder(config.model.path);
  for (const [option, files] of [
    ["data.train", config.data.train],
    ["data.heldout", config.data.heldout],
    ["warmup.data", config.warmup.data],
    ["evaluation.benchmarks", config.evaluation.benchmarks.map(({ file }) => file)],
  ] as const) {
    for (const file of files) await assertFile(option, file);
  }
  if (resume === undefined) await assertRoomForRun(config.run.directory, config.run.id);
}

/** The monitor's token, null where none is asked for. Errors: WEIR_E_CONFIG where its variable is not set. */
export function monitorToken({ tokenEnv }: Config["monitor"]): string | null {
  return environmentSecret(tokenEnv, { option: "monitor.tokenEnv", what: "the monitor's token" });
}

/** The token that the webhook's receiver asks for; null where none is configured. Errors: WEIR_E_CONFIG where its variable is not set. */
export function webhookToken({ webhook }: Config["monitor"]): string | null {
  if (webhook.url === null) return null;
  return environmentSecret(webhook.tokenEnv, { option: "monitor.webhook.tokenEnv", what: "the webhook's token" });
}

/** Errors: those of starting the monitor, found by listening for a moment. */
export async function assertMonitorPossible(monitor: Config["monitor"]): Promise<void> {
  if (!monitor.enabled) return;
  const { host, port } = monitor;
  const token = monitorToken(monitor);
  assertSafe({ host, ...(token === null ? {} : { token }) });
  await new Promise<void>((resolve, reject) => {
    const server = createServer();
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new WeirError(
          "WEIR_E_MONITOR_ADDRESS",
          `options "monitor.host" and "monitor.port": expected to listen on ${host}:${port}, got ${cause.code ?? cause.message}; choose another port (0 takes a free one) or host, or set monitor.enabled to false`,
          { host, port },
          { cause },
        ),
      ),
    );
    server.listen(port, host, () => server.close(() => resolve()));
  });
}

async function assertFolder(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory()) return;
  throw new WeirError(
    found === null ? "WEIR_E_FILE_MISSING" : "WEIR_E_MODEL_FILES",
    `option "model.path": expected a model folder at "${path}", ${found === null ? "there is none" : "it is a file"}; give a local folder with config.json, tokenizer.json and model.safetensors (names on a model hub are not fetched)`,
    { path },
  );
}

async function assertFile(option: string, path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  const readable = await access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
  if (found?.isFile() && readable) return;
  const came = found === null ? "there is none" : found.isFile() ? "this user may not read it" : "it is not a file";
  throw new WeirError(
    "WEIR_E_FILE_MISSING",
    `option "${option}": expected a data file at "${path}", ${came}; check the path (it is relative to the configuration file, or to the working folder where --set gave it)`,
    { option, file: path },
  );
}
