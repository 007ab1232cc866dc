/** How each kind of server is asked what it is. */
import { describeNats } from "../remote/nats/describe-nats.js";
import { describeSglang } from "../remote/sglang/sglang.js";
import { describeTinker } from "../remote/tinker/describe.js";
import { describeVllm } from "../remote/vllm/vllm.js";
import { realTime } from "../system/time.js";
import type { Describe, ServerAccess, ServerKind } from "./engine-doctor.js";

/** Of one question, ms; what a server says of itself takes seconds where it has to draw a sequence. */
const DEADLINE_MS = 60_000;

const samplerOptions = ({ url, secret, model, form }: ServerAccess) => ({
  ...{ urls: [url], model, secret, form },
  logprobs: "auto" as const,
  callsPerServer: 1,
  patienceMs: 0,
  deadlineMs: DEADLINE_MS,
});

export const DESCRIBERS: Readonly<Record<ServerKind, Describe>> = {
  vllm: (access, signal) => describeVllm(access.url, samplerOptions(access), signal),
  sglang: (access, signal) => describeSglang(access.url, samplerOptions(access), signal),
  tinker: ({ url, secret }, signal) =>
    describeTinker({ url, apiKey: secret, patienceMs: 0, deadlineMs: DEADLINE_MS, time: realTime }, signal),
  nats: ({ url, credentialsEnv }, signal) => describeNats({ url, credentialsEnv, patienceMs: 0 }, signal),
};
