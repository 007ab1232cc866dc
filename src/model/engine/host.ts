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
import type { EvaluateLoss } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import type { RotaryDtype } from "../io/rope-config.js";
import { isTensorflowNoise } from "../tensor/native/noise.js";
import { errorToMessage, messageToError } from "./dispatch.js";
import { type ExitCause, ExitWatch } from "./exit-cause.js";
import { type Call, engineFacade } from "./facade.js";
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
}

/** Characters of stderr that the error quotes when the process ends unexpectedly. */
const STDERR_TAIL = 2000;
/** Heartbeats missed in a row before an idle engine counts as hung. */
const MISSED_HEARTBEATS = 6;
/** Time an engine has to exit by itself after `close`, ms. */
const CLOSE_GRACE_MS = 3000;

interface Pending {
  readonly method: string;
  /** The caller's own loss. */
  readonly evaluate: EvaluateLoss | undefined;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: WeirError) => void;
  /** Starts the deadline; called when the request is the next in order. */
  readonly arm: () => void;
  readonly release: () => void;
}

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

/**
 * Starts an engine process with a model. Rejects with the model's or backend's own error, WEIR_E_ENGINE_TIMEOUT after
 * `startTimeoutMs`, or WEIR_E_ENGINE_CRASHED.
 */
export async function startEngine(input: StartEngineInput): Promise<Engine> {
  const { options, logger } = input;
  const child = spawnChild(input);
  const stderr = captureStderr(child, logger);
  const pending = new Map<number, Pending>();
  let nextId = 1;
  let version: PolicyVersion = { n: 0, sha256: "" };
  let closing = false;
  let killedFor: string | null = null;
  let missed = 0;

  const kill = (reason: string) => {
    killedFor ??= reason;
    child.kill("SIGKILL");
  };
  const exitWatch = new ExitWatch(child.pid);
  const exited = new Promise<{ expected: boolean; reason: string } & ExitCause>((resolve) => {
    const finish = (found: ExitCause) => {
      const reason = killedFor ?? (closing ? "closed" : found.reason);
      resolve({ ...found, cause: killedFor === null && !closing ? found.cause : null, expected: closing, reason });
    };
    child.once("error", (error) =>
      finish({ cause: null, reason: `could not be started: ${error.message}`, remedy: "look at its cause" }),
    );
    child.once("close", (code, signal) => finish(exitWatch.explain(code, signal, stderr())));
  });
  void exited.then(({ reason, cause, remedy }) => {
    for (const entry of [...pending.values()]) {
      entry.release();
      entry.reject(
        new WeirError(
          "WEIR_E_ENGINE_CRASHED",
          `the engine process (pid ${child.pid}) ended during ${entry.method}: ${reason}; ${remedy}`,
          { method: entry.method, reason, cause, pid: child.pid },
        ),
      );
    }
  });
  const post = (message: ToEngine) => {
    if (child.connected) child.send(message, () => undefined);
  };

  const answerEvaluation = async (id: number, sequences: readonly LossSequence[]) => {
    try {
      const evaluate = pending.get(id)?.evaluate;
      if (evaluate === undefined) throw new WeirError("WEIR_E_STATE", "the request has no loss to evaluate");
      post({ kind: "evaluated", id, evaluation: await evaluate(sequences) });
    } catch (error) {
      post({ kind: "unevaluated", id, error: errorToMessage(error) });
    }
  };

  const started = new Promise<Extract<FromEngine, { kind: "ready" }>>((resolve, reject) => {
    const timer = setTimeout(() => {
      const reason = `the engine did not load the model within ${options.startTimeoutMs} ms; raise engine.startTimeoutMs`;
      kill(reason);
      reject(new WeirError("WEIR_E_ENGINE_TIMEOUT", reason, { limitMs: options.startTimeoutMs }));
    }, options.startTimeoutMs);
    void exited.then(({ reason, cause, remedy }) => {
      clearTimeout(timer);
      const what = cause === "oom" ? `; ${remedy}` : "";
      reject(
        new WeirError("WEIR_E_ENGINE_CRASHED", `the engine process ended while it started: ${reason}${what}`, {
          reason,
          cause,
        }),
      );
    });
    child.on("message", (message: FromEngine) => {
      missed = 0;
      switch (message.kind) {
        case "ready":
          exitWatch.sample();
          clearTimeout(timer);
          version = message.version;
          resolve(message);
          break;
        case "refused":
          clearTimeout(timer);
          closing = true;
          reject(messageToError(message.error));
          child.kill("SIGKILL");
          break;
        case "reply": {
          version = message.version;
          const entry = pending.get(message.id);
          entry?.release();
          entry?.resolve(message.output);
          break;
        }
        case "error": {
          const entry = pending.get(message.id);
          entry?.release();
          entry?.reject(messageToError(message.error));
          break;
        }
        case "evaluate":
          void answerEvaluation(message.id, message.sequences);
          break;
        case "heartbeat":
          break;
      }
    });
  });
  exitWatch.sample();
  post({ kind: "start", modelDir: input.modelDir, options, rotaryDtype: input.rotaryDtype ?? null });
  const ready = await started;

  // Counted in ticks of this process's clock, so that a pause of the control plane does not look like one of the engine.
  const watch = setInterval(() => {
    exitWatch.sample();
    // While a request is being processed its own deadline counts: arithmetic may block the process's event loop.
    missed = pending.size > 0 ? 0 : missed + 1;
    if (missed <= MISSED_HEARTBEATS) return;
    logger?.warn({ actor: "engine", pid: child.pid, missed }, "engine shows no sign of life");
    kill(`no sign of life in ${missed} heartbeats of ${options.heartbeatMs} ms while idle`);
  }, options.heartbeatMs);
  watch.unref();
  void exited.then(() => clearInterval(watch));

  let gone: string | null = null;
  void exited.then(({ reason }) => {
    gone = reason;
  });

  const armNext = () => {
    const [next] = pending.values();
    next?.arm();
  };
  const call: Call = (method, payload, signal, evaluate) =>
    new Promise((resolve, reject) => {
      if (gone !== null || closing) {
        reject(
          new WeirError("WEIR_E_ENGINE_CRASHED", `the engine process is gone (${gone ?? "closed"}); start another`, {
            method,
          }),
        );
        return;
      }
      if (signal.aborted) {
        reject(new WeirError("WEIR_E_ENGINE_ABORTED", `${method} was cancelled before it was sent`));
        return;
      }
      const id = nextId++;
      const onAbort = () => post({ kind: "abort", id });
      let timer: NodeJS.Timeout | undefined;
      const expire = () => {
        const reason = `${method} took longer than engine.requestTimeoutMs = ${options.requestTimeoutMs} ms`;
        const entry = pending.get(id);
        entry?.release();
        entry?.reject(
          new WeirError("WEIR_E_ENGINE_TIMEOUT", `${reason}; the engine process was ended, start another`, { method }),
        );
        kill(reason);
      };
      pending.set(id, {
        method,
        evaluate,
        resolve: resolve as (output: unknown) => void,
        reject,
        arm: () => {
          timer ??= setTimeout(expire, options.requestTimeoutMs);
        },
        release: () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", onAbort);
          pending.delete(id);
          armNext();
        },
      });
      armNext();
      signal.addEventListener("abort", onAbort, { once: true });
      post({ kind: "request", id, method, input: payload } as ToEngine);
    });

  return engineFacade({
    info: ready.info,
    model: ready.model,
    version: () => version,
    call,
    exited: exited.then(({ expected, reason }) => ({ expected, reason })),
    close: async () => {
      if (gone !== null) return;
      closing = true;
      post({ kind: "close" });
      const timer = setTimeout(() => child.kill("SIGKILL"), CLOSE_GRACE_MS);
      await exited;
      clearTimeout(timer);
    },
  });
}
