/** A request on its way through a pool, and each try to have it answered. */
import type { SampleReply, SampleRequest } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import type { Time } from "../../system/time.js";
import type { SamplerMember } from "./sampler-member.js";

/** A request until it is answered. Settled once; then it holds neither timer nor listener. */
export class SamplerCall {
  /** Tries that ended in the loss of a sampler. */
  tries = 0;
  /** The caller has given up. */
  cancelled = false;
  settled = false;
  private readonly timer: unknown;

  constructor(
    readonly request: SampleRequest,
    private readonly time: Time,
    private readonly signal: AbortSignal,
    private readonly end: { resolve(reply: SampleReply): void; reject(error: unknown): void },
    private readonly on: { cancel(call: SamplerCall): void; deadline(call: SamplerCall, error: WeirError): void },
  ) {
    const { id, deadlineMs } = request;
    this.timer = time.set(() => on.deadline(this, tooLate(id, deadlineMs)), deadlineMs);
    signal.addEventListener("abort", this.cancel, { once: true });
  }

  resolve(reply: SampleReply): void {
    this.settle(() => this.end.resolve(reply));
  }

  /** A cancelled call rejects with its signal's reason, whatever else went wrong. */
  reject(error: unknown): void {
    this.settle(() => this.end.reject(this.cancelled ? this.signal.reason : error));
  }

  private readonly cancel = () => {
    this.cancelled = true;
    this.on.cancel(this);
  };

  private settle(tell: () => void): void {
    if (this.settled) return;
    this.settled = true;
    this.time.clear(this.timer);
    this.signal.removeEventListener("abort", this.cancel);
    tell();
  }
}

/** A call at work on a member. */
export interface Attempt {
  readonly call: SamplerCall;
  readonly member: SamplerMember;
  readonly abort: AbortController;
  /** The member is gone or the call was taken from it: what it still answers is ignored. */
  abandoned: boolean;
  /** Deadline of the try. */
  readonly timer: unknown;
}

export function tooLate(id: string, limitMs: number): WeirError {
  const text = `sampling ${id} took longer than its deadline of ${limitMs} ms`;
  return new WeirError("WEIR_E_ENGINE_TIMEOUT", text, { id, limitMs });
}
