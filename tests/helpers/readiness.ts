import type { Readiness, ReadinessState } from "../../src/contracts/readiness.js";

/** A readiness that a test switches. */
export class SwitchedReadiness implements Readiness {
  private now: ReadinessState = { ready: true };
  private readonly told = new Set<(state: ReadinessState) => void>();

  get listeners(): number {
    return this.told.size;
  }

  state(): ReadinessState {
    return this.now;
  }

  onChange(listener: (state: ReadinessState) => void): () => void {
    this.told.add(listener);
    return () => void this.told.delete(listener);
  }

  away(reason: string): void {
    this.become({ ready: false, code: "WEIR_E_JUDGE", reason, forMs: 0 });
  }

  back(): void {
    this.become({ ready: true });
  }

  private become(state: ReadinessState): void {
    const changed = state.ready !== this.now.ready;
    this.now = state;
    if (changed) for (const tell of [...this.told]) tell(state);
  }
}
