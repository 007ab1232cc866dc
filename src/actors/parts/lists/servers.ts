/** The options of samplers on other machines, from a configuration. */
import type { Sampler } from "../../../contracts/sampler.js";
import type { ServerSamplerOptions } from "../../../remote/generation/server-sampler.js";
import { createSglangSampler } from "../../../remote/sglang/sglang.js";
import { createVllmSampler } from "../../../remote/vllm/vllm.js";
import { environmentSecret } from "../../../system/environment-secret.js";
import type { BuiltInSource, PartConfig } from "./source.js";

export const vllmSampler = ({ config }: BuiltInSource): Sampler => createVllmSampler(serverOptions(config));
export const sglangSampler = ({ config }: BuiltInSource): Sampler => createSglangSampler(serverOptions(config));

/** Adapters go by their names where the model has them; else whole folders take each other's place. */
export function serverOptions({
  sampler,
  model,
  engine,
}: Pick<PartConfig, "sampler" | "model" | "engine">): ServerSamplerOptions {
  const { urls, logprobs, callsPerServer, patienceMs, apiKeyEnv } = sampler;
  return {
    urls,
    model: sampler.model,
    secret: environmentSecret(apiKeyEnv, { option: "sampler.apiKeyEnv", what: "the server's key" }),
    logprobs,
    form: model.lora === null ? "checkpoint" : "adapter",
    callsPerServer,
    patienceMs,
    deadlineMs: engine.requestTimeoutMs,
  };
}
