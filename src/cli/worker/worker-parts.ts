/** What a worker works with, from the record of a run and this machine's own settings. */
import { mkdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { modelDigests } from "../../actors/run/run-sources.js";
import type { WorkerParts } from "../../actors/worker/work.js";
import { assertFits, type WorkSettings } from "../../actors/worker/work-settings.js";
import { parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import { applySettings } from "../../config/settings.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { packageVersion } from "../../model/tensor/native/index.js";
import { NatsPolicySource } from "../../remote/nats/nats-policy-source.js";
import { NatsServer } from "../../remote/nats/nats-server.js";
import { listFolder, PRIVATE_FOLDER } from "../../store/durable.js";
import { RunLock } from "../../store/lock.js";
import { openPolicyPlace } from "../../store/policy-place.js";
import { note } from "../output.js";
import { enginesWithoutTrainer, registryWithoutTrainer } from "../without-trainer.js";

export interface WorkerMachine {
  readonly queueUrl: string;
  readonly credentialsEnv: string | null;
  /** The run's base model on this machine; null takes the path that the run has. */
  readonly model: string | null;
  /** `path=value`, over the run's configuration. */
  readonly set: readonly string[];
  /** Files with parts of the user's own. */
  readonly parts: readonly string[];
  /** Folder for policies; null chooses one in memory, or a temporary one. */
  readonly policies: string | null;
}

export interface BuiltWorker extends Omit<WorkerParts, "queue"> {
  readonly config: Config;
  close(): Promise<void>;
}

/** A published checkpoint is float32; the model's files may hold half of that. */
const WIDENED = 2;

/**
 * Starts what the run's configuration names. Errors: WEIR_E_WORKER for a worker that does not fit the run; WEIR_E_CAPABILITY for a
 * sampler that cannot read what the run publishes; those of configuration, parts, model and engine.
 */
export async function buildWorker(run: string, settings: WorkSettings, machine: WorkerMachine): Promise<BuiltWorker> {
  const config = configOf(settings, machine);
  const own = { version: packageVersion(), model: await modelDigests(config.model.path, "") };
  assertFits(settings, own);
  const closers: (() => Promise<unknown> | unknown)[] = [];
  const close = async () => {
    for (const one of closers.splice(0).reverse()) await Promise.resolve(one()).catch(() => undefined);
  };
  try {
    const tokenizer = await loadTokenizer(config.model.path);
    const weights: { sha256: string } = { sha256: "" };
    const pool = enginesWithoutTrainer(config, weights);
    const registry = await registryWithoutTrainer(config, pool, machine.parts, needsTrainer);
    const names = { sampler: config.sampler.actor, reward: config.reward.actor, judge: config.reward.judge.actor };
    const sampler = registry.build("sampler", names);
    const reward = registry.build("reward", names);
    closers.push(
      () => sampler.dispose?.(),
      () => reward.dispose?.(),
    );
    const usesEngine = registry.origin("sampler", names.sampler).source === "built-in" && names.sampler === "engine";
    if (usesEngine) await pool?.start();
    for (const part of [sampler, reward]) await part.connect?.({ signal: new AbortController().signal });
    assertFits(settings, { ...own, model: { ...own.model, weights: weights.sha256 } });
    assertAdopts(sampler.capabilities.adopts, settings);
    const folder = await policyFolder(run, config.model.path, machine.policies, closers);
    const url = config.policyStore.url ?? machine.queueUrl;
    const server = new NatsServer({ url, credentialsEnv: machine.credentialsEnv });
    const policies = new NatsPolicySource({ server, run, folder });
    closers.push(() => policies.dispose());
    await policies.keep(new Set());
    const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: false });
    return { config, sampler, reward, policies, decode, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The run's configuration with this machine's settings over it. */
function configOf(settings: WorkSettings, { model, set }: WorkerMachine): Config {
  const given = applySettings(settings.config as Record<string, unknown>, [
    ...set,
    ...(model === null ? [] : [`model.path=${JSON.stringify(resolve(model))}`]),
  ]);
  const config = parseConfig(given);
  // A worker has no trainer whose engine could sample.
  return { ...config, rollout: { ...config.rollout, engines: Math.max(1, config.rollout.engines) } };
}

const needsTrainer = () =>
  new WeirError("WEIR_E_WORKER", "a worker has no trainer; choose another sampler.actor for it with --set");

function assertAdopts(adopts: readonly string[], { artifact }: WorkSettings): void {
  if (adopts.includes(artifact)) return;
  throw new WeirError(
    "WEIR_E_CAPABILITY",
    `the run publishes its policy as ${artifact}, and this worker's sampler reads ${adopts.join(", ") || "nothing"}; choose another sampler.actor with --set`,
    { artifact },
  );
}

/** A folder that nobody else uses. What a killed worker left in memory, or in the folder that was given, is removed by the next. */
async function policyFolder(
  run: string,
  model: string,
  given: string | null,
  closers: (() => Promise<unknown> | unknown)[],
): Promise<string> {
  if (given !== null) {
    const folder = resolve(given);
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    const lock = RunLock.acquire(folder, note);
    closers.push(() => lock.release());
    return folder;
  }
  const place = await openPolicyPlace({
    ...{ directory: null, maxGiB: null, preferMemory: true },
    runDirectory: join(tmpdir(), `weir-worker-${process.pid}`, run),
    versionBytes: WIDENED * (await bytesOf(model)),
  });
  closers.push(() => place.close());
  return place.folder;
}

async function bytesOf(folder: string): Promise<number> {
  const { files } = await listFolder(folder);
  const sizes = await Promise.all(files.map((file) => stat(join(folder, file))));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}
