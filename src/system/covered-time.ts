/** Wall time in which at least one of several pieces of work was under way. Pieces are told when they end, in the order of their ends. */
export class CoveredTime {
  private spans: { readonly from: number; readonly to: number }[] = [];

  /** A piece of work that ended at `at` and took `seconds`; both in seconds. */
  ended(seconds: number, at: number): void {
    let from = at - seconds;
    for (let last = this.spans.at(-1); last !== undefined && last.to >= from; last = this.spans.at(-1)) {
      from = Math.min(from, last.from);
      this.spans.pop();
    }
    this.spans.push({ from, to: at });
  }

  /** Seconds since the last call of this method; begins anew. */
  take(): number {
    const total = this.spans.reduce((sum, { from, to }) => sum + to - from, 0);
    this.spans = [];
    return total;
  }
}
