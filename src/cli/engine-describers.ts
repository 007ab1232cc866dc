/** How each kind of server is asked what it is. */
import { describeSglang } from "../remote/sglang/sglang.js";
import { describeVllm } from "../remote/vllm/vllm.js";
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

export const DESCRIBERS: Partial<Readonly<Record<ServerKind, Describe>>> = {
  vllm: (access, signal) => describeVllm(access.url, samplerOptions(access), signal),
  sglang: (access, signal) => describeSglang(access.url, samplerOptions(access), signal),
};
