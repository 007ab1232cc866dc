/** Whether a part can take work now. One that cannot says why, and since when. */
export type ReadinessState =
  | { readonly ready: true }
  | {
      readonly ready: false;
      /** Code of the error that it has most of, such as WEIR_E_JUDGE. */
      readonly code: string;
      /** One sentence for people: what is wrong and when it is tried again. */
      readonly reason: string;
      /** Time since it stopped taking work, ms. */
      readonly forMs: number;
    };

/** Told by a part that depends on something which may be away for a while. No work is given to it until it is ready. */
export interface Readiness {
  state(): ReadinessState;
  /** Calls back at each change from ready to not ready and back; the returned function ends that. */
  onChange(listener: (state: ReadinessState) => void): () => void;
}
