/** The parts that a Tinker-compatible server gives. */
import type { Sampler } from "../../../contracts/sampler.js";
import type { Trainer } from "../../../contracts/trainer.js";
import { WeirError } from "../../../errors.js";
import type { TinkerOptions } from "../../../remote/tinker/client.js";
import { createTinkerSampler } from "../../../remote/tinker/sampler.js";
import { ServerLink } from "../../../remote/tinker/server-link.js";
import { createTinkerTrainer } from "../../../remote/tinker/trainer.js";
import { environmentSecret } from "../../../system/environment-secret.js";
import { realTime } from "../../../system/time.js";
import type { BuiltInSource, PartConfig } from "./source.js";

/** A run's trainer and sampler of the same server know of each other. */
const LINKS = new WeakMap<PartConfig, ServerLink>();

function linkOf(config: PartConfig): ServerLink {
  const link = LINKS.get(config) ?? new ServerLink();
  LINKS.set(config, link);
  return link;
}

export const tinkerTrainer = ({ config }: BuiltInSource): Trainer => {
  const { trainer, model } = config;
  if (model.lora === null)
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      'option "model.lora": a Tinker-compatible server trains adapters only; set it, such as to { rank: 16 }',
      { path: "model.lora" },
    );
  return createTinkerTrainer({
    ...connection(config, "trainer", address(trainer.url, "trainer.url")),
    baseModel: trainer.baseModel,
    modelDir: model.path,
    lora: { ...model.lora, seed: config.run.seed },
    lossScale: trainer.lossScale,
    link: linkOf(config),
  });
};

export const tinkerSampler = ({ config }: BuiltInSource): Sampler => {
  const { sampler, trainer } = config;
  if (sampler.urls.length > 1)
    throw new WeirError(
      "WEIR_E_CONFIG",
      'option "sampler.urls": a sampler of Tinker\'s protocol has one server; give one address, or none for trainer.url',
      { path: "sampler.urls" },
    );
  // The server that trains is the only one that has the weights.
  const own = sampler.urls[0];
  return createTinkerSampler({
    ...connection(config, own === undefined ? "trainer" : "sampler", own ?? address(trainer.url, "trainer.url")),
    link: linkOf(config),
  });
};

function connection(config: PartConfig, part: "sampler" | "trainer", url: string): TinkerOptions {
  const { apiKeyEnv, patienceMs } = config[part];
  return {
    url,
    apiKey: environmentSecret(apiKeyEnv, { option: `${part}.apiKeyEnv`, what: "the server's key" }),
    patienceMs,
    deadlineMs: config.engine.requestTimeoutMs,
    time: realTime,
  };
}

function address(url: string | null, path: string): string {
  if (url !== null) return url;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "${path}": the address of a Tinker-compatible server is missing; set it`,
    {
      path,
    },
  );
}
