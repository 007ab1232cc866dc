/**
 * What a trainer and a sampler of one server must know of each other. Where versions of a model share its weights at the server,
 * sampling after an optimiser step draws from other weights than the version's, and sampling an older version puts the trainer's
 * weights back. Invariants: nothing is sampled but what was published last, and not after a further step; no step is sent while
 * sequences are being drawn, given up or not.
 */
export class ServerLink {
  private readonly drawing = new Set<Promise<unknown>>();
  /** Null: no trainer of this process has said anything. */
  private newest: { readonly address: string | null } | null = null;

  /** The trainer has published its present weights under this address. */
  published(address: string): void {
    this.newest = { address };
  }

  /** The trainer's weights are about to change: nothing may be drawn before the next publication. Waits for what is being drawn. */
  async changing(signal: AbortSignal): Promise<void> {
    const before = this.newest;
    this.newest = { address: null };
    while (this.drawing.size > 0) {
      if (signal.aborted) this.newest = before;
      signal.throwIfAborted();
      await Promise.race([Promise.allSettled(this.drawing), whenAborted(signal)]);
    }
  }

  mayDraw(address: string): boolean {
    return this.newest === null || this.newest.address === address;
  }

  /** Work of the sampler that the server has not finished. */
  draws(work: Promise<unknown>): void {
    const ended = work.then(
      () => undefined,
      () => undefined,
    );
    this.drawing.add(ended);
    void ended.then(() => this.drawing.delete(ended));
  }

  get running(): number {
    return this.drawing.size;
  }
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
