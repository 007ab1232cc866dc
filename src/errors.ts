/**
 * The catalogue of errors. One class, stable codes; each message says what was expected, what came and what to do.
 * docs/errors.md is generated from `ERROR_CODES`.
 */
export const ERROR_CODES = {
  WEIR_E_ACTOR_DUPLICATE: "Two replaceable parts were registered under one name.",
  WEIR_E_ACTOR_LATE: "A part was registered after the training system had started.",
  WEIR_E_ACTOR_MISSING: "A part that another part needs was not given.",
  WEIR_E_ACTOR_UNKNOWN: "The configuration names a part that is not registered.",
  WEIR_E_BENCHMARK: "A process of a benchmark, weir's own or a peer's, could not be set up or gave no result.",
  WEIR_E_CAPABILITY: "The configuration asks for something that the sampler, trainer or policy store in use cannot do.",
  WEIR_E_CHAT_TEMPLATE: "The chat template is missing or cannot be rendered.",
  WEIR_E_CHECKPOINT_DAMAGED: "A checkpoint does not match its manifest or cannot be read.",
  WEIR_E_CONFIG: "The configuration holds an unknown option or a wrong value.",
  WEIR_E_DATA: "A data file is missing, unreadable or lacks a needed column.",
  WEIR_E_DISK: "A file cannot be written or read: the disk is full, read-only, failing, or access is denied.",
  WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED:
    "Dynamic sampling reached its maximum number of rounds without enough groups that pass the filter.",
  WEIR_E_EMPTY_PHASE: "A phase (length bucket) holds no task.",
  WEIR_E_ENGINE_ABORTED: "An engine request was cancelled by the caller.",
  WEIR_E_ENGINE_CRASHED: "The engine process ended while it was needed.",
  WEIR_E_ENGINE_REQUEST: "The engine refused a request.",
  WEIR_E_ENGINE_TIMEOUT: "The engine did not answer within its deadline.",
  WEIR_E_FILE_MISSING: "A file or folder that was named does not exist.",
  WEIR_E_GGUF: "A GGUF file is damaged or uses a type or architecture that is not supported.",
  WEIR_E_GUARD: "A rollback was asked for, and no snapshot is left that the run can go back to.",
  WEIR_E_JUDGE: "The judge cannot be reached, or its answer is unusable.",
  WEIR_E_KNOB: "A knob of a run was turned that does not exist, or to a value that it does not take.",
  WEIR_E_LEDGER: "A rollout was given a ledger state that cannot follow its current one.",
  WEIR_E_MISMATCH:
    "Sampler and trainer give different log-probs for the same tokens at the same version: they do not have the same weights.",
  WEIR_E_MODEL_FILES: "A model folder lacks a file or its tensors do not fit its configuration.",
  WEIR_E_MODEL_UNSUPPORTED: "The model's configuration asks for something that weir does not implement.",
  WEIR_E_MONITOR_ADDRESS: "The monitor cannot listen on the address it was given.",
  WEIR_E_MONITOR_CONNECTION: "The monitor cannot be reached, or the connection to it ended for good.",
  WEIR_E_MONITOR_UNSAFE: "The monitor was asked to listen beyond loopback without a token.",
  WEIR_E_NATIVE_ENGINE: "The native engine could not be set up or loaded.",
  WEIR_E_NON_FINITE: "A loss, gradient, reward or log-prob was not finite; nothing was changed.",
  WEIR_E_NOTHING_TRAINED: "A run ended without changing any weight.",
  WEIR_E_PART:
    "A replaceable part broke its contract: it threw, or returned something that the contract does not allow.",
  WEIR_E_PARTS_FILE: "A file given with --parts cannot be loaded, or exports something other than parts.",
  WEIR_E_POLICY_BUDGET:
    "The next policy does not fit in what policyStore.maxGiB or the disk leaves; the run was paused.",
  WEIR_E_POLICY_STORE: "A published policy is missing, damaged or cannot be handed over.",
  WEIR_E_POLICY_VERSION: "A sampler or trainer does not hold the policy version that was asked for.",
  WEIR_E_PREFLIGHT:
    "The trial batch before training showed that the run would learn nothing, or has no room in memory.",
  WEIR_E_PROMPT_TOO_LONG: "A prompt plus its response does not fit the model's positions.",
  WEIR_E_REMOTE: "A server refused a call, or answered something that its protocol does not have.",
  WEIR_E_REMOTE_STATE:
    "A server has lost a model, session or policy that the run needs; the run goes back to its last checkpoint.",
  WEIR_E_REPLACE: "A part cannot be replaced while the run is under way, or the new one does not fit.",
  WEIR_E_REWARD: "The reward could not score any response.",
  WEIR_E_REWARD_SOURCE: "No reward family is known for the task's data source.",
  WEIR_E_ROLLBACK: "The guard rejected an update and takes the run back to its last checkpoint.",
  WEIR_E_RUN_FOLDER: "A run folder is missing a file, or one of its files is damaged.",
  WEIR_E_RUN_LOCKED: "Another process writes to the run folder.",
  WEIR_E_SAMPLERS_LOST: "Every sampler of rollout.engines failed more often than engine.maxRestarts permits.",
  WEIR_E_SHAPE: "An array or tensor does not have the shape that the function needs.",
  WEIR_E_STATE: "The call is not allowed in the current state of the training system.",
  WEIR_E_SUBSCRIBER: "A subscriber of a training system's stream threw; the run went on.",
  WEIR_E_TOKENIZER: "The tokenizer is missing, damaged, of an unsupported kind, or has tokens that the model lacks.",
  WEIR_E_UNREACHABLE:
    "A server does not answer, or has no room for work; the run is paused and goes on by itself once it does.",
  WEIR_E_USAGE: "A command was called with wrong arguments.",
  WEIR_E_WORKER: "A worker does not fit a run: another version of weir, another model or another tokenizer.",
  WEIR_E_WORK_QUEUE: "A work queue refused a call: a lease has expired, or an id is used for something else.",
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

const MARKER = Symbol.for("weir.error");

/** Every error that weir throws on purpose. */
export class WeirError extends Error {
  readonly [MARKER] = true;
  readonly code: ErrorCode;
  /** Machine-readable details (path, value, expected …). */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(`${code}: ${message}`, options);
    this.name = "WeirError";
    this.code = code;
    this.details = details;
  }

  /** True for WeirErrors of any copy of the package. */
  static isInstance(value: unknown): value is WeirError {
    return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[MARKER] === true;
  }
}
