/**
 * Starts an engine process and exchanges messages with it: every request has a deadline, an abort reaches the process, and the end of
 * the process rejects pending requests with its reason (I5).
 * Invariants: requests are processed in order, and the deadline of each starts when the one
 * before it has been answered; after a missed deadline the process is killed, since its state is unknown.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Engine, EngineOptions } from "../../contracts/engine.js";
import type { LossSequence } from "../../contracts/loss.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import { WeirError } from "../../errors.js";
import type { RotaryDtype } from "../io/rope-config.js";
import { isTensorflowNoise } from "../tensor/native/noise.js";
import { errorToMessage, messageToError } from "./dispatch.js";
import { type ExitCause, ExitWatch } from "./exit-cause.js";
import { type Call, engineFacade } from "./facade.js";
import { PendingRequests } from "./pending-requests.js";
import type { FromEngine, ToEngine } from "./protocol.js";

/** The part of a logger that the host uses; pino fits. */
export interface EngineLogger {
  debug(details: object, message: string): void;
  warn(details: object, message: string): void;
}

export interface StartEngineInput {
  /** Hugging Face folder. */
  readonly modelDir: string;
  readonly options: EngineOptions;
  readonly logger?: EngineLogger;
  /** Variables for the engine process on top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** `bfloat16` reproduces models that were cast as a whole, buffers included; config.json's choice when left out. */
  readonly rotaryDtype?: RotaryDtype;
  /** Ends the process while it starts. */
  readonly signal?: AbortSignal;
}

/** Characters of stderr that the error quotes when the process ends unexpectedly. */
const STDERR_TAIL = 2000;
/** Heartbeats missed in a row before an idle engine counts as hung. */
const MISSED_HEARTBEATS = 6;
/** Time an engine has to exit by itself after `close`, ms. */
const CLOSE_GRACE_MS = 3000;

/** Node's arguments for the child: plain JavaScript from dist, through tsx from source. */
function childArguments(): string[] {
  const compiled = fileURLToPath(new URL("./child.js", import.meta.url));
  if (existsSync(compiled)) return [compiled];
  const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  return ["--import", loader, fileURLToPath(new URL("./child.ts", import.meta.url))];
}

/**
 * Makes glibc request huge pages for its heap, which only an environment variable at process start can do: TensorFlow's
 * tensors are large and read in long strides. Other C libraries ignore it.
 */
const HUGE_PAGES = process.platform === "linux" ? { GLIBC_TUNABLES: "glibc.malloc.hugetlb=1" } : {};

function spawnChild(input: StartEngineInput): ChildProcess {
  const { threads } = input.options;
  return spawn(process.execPath, childArguments(), {
    stdio: ["ignore", "inherit", "pipe", "ipc"],
    serialization: "advanced",
    env: {
      TF_CPP_MIN_LOG_LEVEL: "2",
      TF_FORCE_GPU_ALLOW_GROWTH: "true",
      ...HUGE_PAGES,
      ...(threads > 0 ? { TF_NUM_INTRAOP_THREADS: String(threads), OMP_NUM_THREADS: String(threads) } : {}),
      ...process.env,
      ...input.env,
    },
  });
}

/** Records the end of stderr and logs its lines, without TensorFlow's start-up messages. */
function captureStderr(child: ChildProcess, logger: EngineLogger | undefined): () => string {
  let tail = "";
  let line = "";
  child.stderr?.setEncoding("utf8");
  child.stderr?.on("data", (chunk: string) => {
    const lines = (line + chunk).split("\n");
    line = lines.pop() ?? "";
    for (const text of lines) {
      if (text.trim() === "" || isTensorflowNoise(text)) continue;
      tail = `${tail}${text}\n`.slice(-STDERR_TAIL);
      logger?.debug({ actor: "engine", pid: child.pid, stderr: text }, "engine stderr");
    }
  });
  return () => `${tail}${line}`.trim();
}

/** How a process ended. */
type Exit = { readonly expected: boolean; readonly reason: string } & ExitCause;

type Ready = Extract<FromEngine, { kind: "ready" }>;

/** One engine process from its start to its end. */
class EngineProcess {
  version: PolicyVersion = { n: 0, sha256: "" };
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  private readonly child: ChildProcess;
  private readonly exitWatch: ExitWatch;
  private readonly pending: PendingRequests;
  private closing = false;
  private killedFor: string | null = null;
  private missed = 0;
  private exit: Exit | null = null;

  constructor(private readonly input: StartEngineInput) {
    this.child = spawnChild(input);
    this.pending = new PendingRequests(input.options.requestTimeoutMs);
    const stderr = captureStderr(this.child, input.logger);
    this.exitWatch = new ExitWatch(this.child.pid);
    this.exited = new Promise((resolve) => {
      const finish = (found: ExitCause) => resolve(this.ended(found));
      this.child.once("error", (error) =>
        finish({ cause: null, reason: `could not be started: ${error.message}`, remedy: "look at its cause" }),
      );
      this.child.once("close", (code, signal) => finish(this.exitWatch.explain(code, signal, stderr())));
    });
  }

  /** Loads the model. Rejects as `startEngine`. */
  async start(): Promise<Ready> {
    const { modelDir, options, rotaryDtype } = this.input;
    const started = this.started();
    this.exitWatch.sample();
    this.post({ kind: "start", modelDir, options, rotaryDtype: rotaryDtype ?? null });
    const ready = await started;
    this.watchHeartbeats();
    return ready;
  }

  readonly call: Call = (method, payload, signal, evaluate) =>
    new Promise((resolve, reject) => {
      if (this.exit !== null || this.closing) {
        const reason = this.exit?.reason ?? "closed";
        reject(
          new WeirError("WEIR_E_ENGINE_CRASHED", `the engine process is gone (${reason}); start another`, { method }),
        );
        return;
      }
      if (signal.aborted) {
        reject(new WeirError("WEIR_E_ENGINE_ABORTED", `${method} was cancelled before it was sent`));
        return;
      }
      const id = this.pending.add({ method, evaluate }, signal, (id) => ({
        resolve: resolve as (output: unknown) => void,
        reject,
        onAbort: () => this.post({ kind: "abort", id }),
        onDeadline: () => this.expire(id, method),
      }));
      this.post({ kind: "request", id, method, input: payload } as ToEngine);
    });

  async close(): Promise<void> {
    if (this.exit !== null) return;
    this.closing = true;
    this.post({ kind: "close" });
    const timer = setTimeout(() => this.child.kill("SIGKILL"), CLOSE_GRACE_MS);
    await this.exited;
    clearTimeout(timer);
  }

  private post(message: ToEngine): void {
    if (this.child.connected) this.child.send(message, () => undefined);
  }

  kill(reason: string): void {
    this.killedFor ??= reason;
    this.child.kill("SIGKILL");
  }

  /** Records the end and rejects what is pending. */
  private ended(found: ExitCause): Exit {
    if (this.exit !== null) return this.exit;
    const { pid } = this.child;
    const reason = this.killedFor ?? (this.closing ? "closed" : found.reason);
    const cause = this.killedFor === null && !this.closing ? found.cause : null;
    this.exit = { ...found, cause, expected: this.closing, reason };
    this.pending.rejectAll(
      ({ method }) =>
        new WeirError(
          "WEIR_E_ENGINE_CRASHED",
          `the engine process (pid ${pid}) ended during ${method}: ${reason}; ${found.remedy}`,
          { method, reason, cause, pid },
        ),
    );
    return this.exit;
  }

  /** The process's first answer: ready, refused, too late or none. */
  private started(): Promise<Ready> {
    const { startTimeoutMs } = this.input.options;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const reason = `the engine did not load the model within ${startTimeoutMs} ms; raise engine.startTimeoutMs`;
        this.kill(reason);
        reject(new WeirError("WEIR_E_ENGINE_TIMEOUT", reason, { limitMs: startTimeoutMs }));
      }, startTimeoutMs);
      void this.exited.then(({ reason, cause, remedy }) => {
        clearTimeout(timer);
        const what = cause === "oom" ? `; ${remedy}` : "";
        const message = `the engine process ended while it started: ${reason}${what}`;
        reject(new WeirError("WEIR_E_ENGINE_CRASHED", message, { reason, cause }));
      });
      this.child.on("message", (message: FromEngine) => {
        this.missed = 0;
        if (message.kind === "ready") {
          this.exitWatch.sample();
          clearTimeout(timer);
          this.version = message.version;
          resolve(message);
        } else if (message.kind === "refused") {
          clearTimeout(timer);
          this.closing = true;
          reject(messageToError(message.error));
          this.child.kill("SIGKILL");
        } else this.receive(message);
      });
    });
  }

  private receive(message: Exclude<FromEngine, { kind: "ready" | "refused" }>): void {
    switch (message.kind) {
      case "reply":
        this.version = message.version;
        this.pending.resolve(message.id, message.output);
        break;
      case "error":
        this.pending.reject(message.id, messageToError(message.error));
        break;
      case "evaluate":
        void this.answerEvaluation(message.id, message.sequences);
        break;
      case "heartbeat":
        break;
    }
  }

  private async answerEvaluation(id: number, sequences: readonly LossSequence[]): Promise<void> {
    try {
      const evaluate = this.pending.get(id)?.evaluate;
      if (evaluate === undefined) throw new WeirError("WEIR_E_STATE", "the request has no loss to evaluate");
      this.post({ kind: "evaluated", id, evaluation: await evaluate(sequences) });
    } catch (error) {
      this.post({ kind: "unevaluated", id, error: errorToMessage(error) });
    }
  }

  private expire(id: number, method: string): void {
    const reason = `${method} took longer than engine.requestTimeoutMs = ${this.input.options.requestTimeoutMs} ms`;
    this.pending.reject(
      id,
      new WeirError("WEIR_E_ENGINE_TIMEOUT", `${reason}; the engine process was ended, start another`, { method }),
    );
    this.kill(reason);
  }

  /** Kills an idle process that misses its heartbeats. Counted in ticks of this process, so that its own pauses do not count. */
  private watchHeartbeats(): void {
    const { heartbeatMs } = this.input.options;
    const watch = setInterval(() => {
      this.exitWatch.sample();
      // While a request is being processed its own deadline counts: arithmetic may block the process's event loop.
      this.missed = this.pending.size > 0 ? 0 : this.missed + 1;
      if (this.missed <= MISSED_HEARTBEATS) return;
      const { missed } = this;
      this.input.logger?.warn({ actor: "engine", pid: this.child.pid, missed }, "engine shows no sign of life");
      this.kill(`no sign of life in ${missed} heartbeats of ${heartbeatMs} ms while idle`);
    }, heartbeatMs);
    watch.unref();
    void this.exited.then(() => clearInterval(watch));
  }
}

/**
 * Starts an engine process with a model. Rejects with the model's or backend's own error, WEIR_E_ENGINE_TIMEOUT after
 * `startTimeoutMs`, or WEIR_E_ENGINE_CRASHED.
 */
export async function startEngine(input: StartEngineInput): Promise<Engine> {
  input.signal?.throwIfAborted();
  const running = new EngineProcess(input);
  const onAbort = () => running.kill("its start was cancelled");
  input.signal?.addEventListener("abort", onAbort, { once: true });
  const { info, model } = await running.start().finally(() => input.signal?.removeEventListener("abort", onAbort));
  return engineFacade({
    info,
    model,
    version: () => running.version,
    call: running.call,
    exited: running.exited.then(({ expected, reason }) => ({ expected, reason })),
    close: () => running.close(),
  });
}
