/** `weir doctor --engine URL`: what a server can do, and whether a configuration can work with it. */
import { loadConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import type { ServerDescription } from "../../contracts/server.js";
import { WeirError } from "../../errors.js";
import { environmentSecret } from "../../system/environment-secret.js";
import { DESCRIBERS } from "../engine-describers.js";
import { descriptionRows, partsAt, type ServerAccess, serverKindAt } from "../engine-doctor.js";
import { misfitOf } from "../engine-fit.js";
import { type ExitCode, note, print, printJson, table } from "../output.js";

export interface EngineDoctorOptions {
  readonly engine: string;
  readonly config?: string;
  readonly keyEnv?: string;
  readonly json?: boolean;
}

/** The server, and what keeps the configuration from working with it; null without a configuration, or where nothing does. */
export interface EngineReport {
  readonly server: ServerDescription;
  readonly config: { readonly file: string; readonly parts: readonly string[]; readonly misfit: string | null } | null;
}

/** 0 where weir, and the configuration where one is given, can work with the server, else 1. */
export function engineExitCode({ server, config }: EngineReport): ExitCode {
  return server.problems.length === 0 && (config === null || config.misfit === null) ? 0 : 1;
}

/** Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE, WEIR_E_CONFIG, WEIR_E_USAGE for something that is no address. */
export async function examineEngine({ engine: url, config: file, keyEnv }: EngineDoctorOptions): Promise<EngineReport> {
  if (!URL.canParse(url))
    throw new WeirError("WEIR_E_USAGE", `--engine: expected an address such as http://host:8000, got "${url}"`, {
      url,
    });
  const { signal } = new AbortController();
  const config = file === undefined ? null : await loadConfig(file);
  const access = accessTo(url, keyEnv, config);
  const kind = await serverKindAt(url, access.secret, signal);
  const server = await DESCRIBERS[kind](access, signal);
  if (config === null || file === undefined) return { server, config: null };
  const parts = partsAt(config, url);
  const misfit =
    parts.length === 0
      ? `no part of it works at ${url}; name the address in sampler.urls, trainer.url, policyStore.url or workQueue.url`
      : ((await misfitOf(config, signal))?.message ?? null);
  return { server, config: { file, parts, misfit } };
}

/** The key is that of --key-env, else the one that the configuration names for its part at the address. */
function accessTo(url: string, keyEnv: string | undefined, config: Config | null): ServerAccess {
  const parts = config === null ? [] : partsAt(config, url);
  const trains = parts.includes("trainer");
  const named = trains ? config?.trainer.apiKeyEnv : config?.sampler.apiKeyEnv;
  const part = trains ? "trainer.apiKeyEnv" : "sampler.apiKeyEnv";
  const variable = keyEnv ?? (parts.length > 0 ? (named ?? null) : null);
  const option = keyEnv === undefined ? part : "--key-env";
  const secret = environmentSecret(variable, { option, what: "the server's key" });
  return {
    url,
    secret,
    model: parts.length === 0 ? null : ((trains ? config?.trainer.baseModel : config?.sampler.model) ?? null),
    form: config !== null && config.model.lora === null ? "checkpoint" : "adapter",
    credentialsEnv: config?.workQueue.credentialsEnv ?? null,
  };
}

export async function engineDoctorCommand(options: EngineDoctorOptions): Promise<ExitCode> {
  const report = await examineEngine(options);
  const { server, config } = report;
  if (options.json) printJson(report);
  else {
    table(["what", "found"], descriptionRows(server));
    if (config !== null) {
      print();
      print(`${config.file}: ${config.misfit === null ? `fits (${config.parts.join(", ")})` : "does not fit"}`);
    }
    for (const problem of server.problems) note(`look at: ${problem}`);
    if (config?.misfit) note(`look at: ${config.misfit}`);
  }
  return engineExitCode(report);
}
