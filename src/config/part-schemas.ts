import { z } from "zod";
import { LOGPROB_BASES } from "../contracts/sampler.js";
import { SERVER_LOSS_SCALES } from "../contracts/trainer.js";

/** Options of the parts that may work on other machines; see schema.ts. */

const positiveInt = z.number().int().positive();
const actorName = z.string().min(1);
const address = z.url({ protocol: /^https?$/ });
const keyVariable = z.string().min(1).nullable().default(null);
const patienceMs = (of: string) =>
  z
    .number()
    .int()
    .nonnegative()
    .default(60_000)
    .describe(
      `How long ${of} that cannot be reached is tried again, ms; then the run pauses (WEIR_E_UNREACHABLE) and goes on by itself once it answers.`,
    );

export const samplerSchema = z.strictObject({
  actor: actorName
    .default("engine")
    .describe(
      "Name of the sampler part: `engine` (embedded), `vllm`, `sglang`, `tinker` (a server that speaks Tinker's protocol), or your own.",
    ),
  urls: z
    .array(address)
    .default([])
    .describe(
      "Base addresses of the servers of `vllm` and `sglang`, without a path; several share the work. `tinker` takes one, or none for that of trainer.url.",
    ),
  model: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe("Name of the base model at the server; null takes the only one that it serves."),
  apiKeyEnv: keyVariable.describe("Environment variable that holds the server's API key."),
  logprobs: z
    .enum(["auto", ...LOGPROB_BASES])
    .default("auto")
    .describe(
      "What the server's log-probs are of: `raw` (temperature 1, whole vocabulary), `scaled` (softmax of logits / temperature), `processed` (after temperature, top-p and top-k); `auto` asks the server by a request at the start.",
    ),
  callsPerServer: positiveInt
    .default(4)
    .describe(
      "Sampler calls that one server of `vllm` or `sglang` works on at once; each is rollout.promptsPerCall prompts.",
    ),
  patienceMs: patienceMs("a server"),
});

export const trainerSchema = z.strictObject({
  actor: actorName
    .default("engine")
    .describe(
      "Name of the trainer part: `engine` (embedded), `tinker` (a server that speaks Tinker's protocol), or your own.",
    ),
  url: address.nullable().default(null).describe("Base address of the server of `tinker`, without a path."),
  baseModel: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "Name of the base model at the server; null takes the only one that it serves. It has to be that of model.path.",
    ),
  apiKeyEnv: keyVariable.describe("Environment variable that holds the server's API key."),
  lossScale: z
    .enum(["auto", ...SERVER_LOSS_SCALES])
    .default("auto")
    .describe(
      "What the server makes of a batch's token losses: `row-mean` (mean over rows of each row's mean) or `sum`; `auto` finds out at the start with a model that is thrown away.",
    ),
  patienceMs: patienceMs("the server"),
});

export const policyStoreSchema = z.strictObject({
  actor: actorName
    .default("auto")
    .describe(
      "Name of the part that hands weights from trainer to sampler: `engine` (both are on the same engine or server, nothing is copied), `folder` (one folder per version, see policyStore.directory), `nats` (an object store, see policyStore.url), `auto` (`engine` where that is possible, else `folder`), or your own.",
    ),
  directory: z
    .string()
    .nullable()
    .default(null)
    .describe(
      "Where `folder` keeps its folders, under the run's name and a digest of its place; null takes a file system in memory with room for three versions where rollout.engines is 1 or more, else policies/ in the run folder.",
    ),
  maxGiB: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe(
      "Room that published policies may take, GiB; null takes 80 % of what is free there at start (`nats`: of what the server allows). A run whose next version does not fit is paused (WEIR_E_POLICY_BUDGET).",
    ),
  url: z
    .url({ protocol: /^(nats|tls|wss?)$/ })
    .nullable()
    .default(null)
    .describe("Address of the NATS server of `nats`; null takes that of workQueue.url."),
});

export const workQueueSchema = z.strictObject({
  actor: actorName
    .default("none")
    .describe(
      "Name of the part that hands groups to workers: `none` (the run's own sampler and reward do the work), `memory` (workers of the same process, for tests), `nats` (`weir worker` on any machine), or your own.",
    ),
  url: z
    .url({ protocol: /^(nats|tls|wss?)$/ })
    .nullable()
    .default(null)
    .describe("Address of the NATS server of `nats`."),
  credentialsEnv: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe("Environment variable that holds the path of a NATS credentials file; read for policyStore.url, too."),
  maxTasks: positiveInt.default(64).describe("Most groups that are ready or with a worker; no more are issued then."),
  leaseMs: positiveInt
    .default(30_000)
    .describe("Time without a sign of life after which a worker's group goes to another worker, ms."),
  maxAttempts: positiveInt.default(5).describe("Deliveries of a group before it is given up as a dead letter."),
});
