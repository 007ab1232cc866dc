/** Adapters as a server hands them out: a .tar.gz with a PEFT folder, read into the names and shapes that weir gives them. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { z } from "zod";
import { WeirError } from "../../errors.js";
import { readSafetensors } from "../../model/io/safetensors.js";
import { type TensorSource, tensorsInMemory } from "../../model/io/tensor-source.js";

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
const BLOCK = 512;
const PREFIX = /^base_model\.model\./;

const PEFT = z.object({ r: z.number(), lora_alpha: z.number() });

export interface ReceivedAdapter {
  readonly rank: number;
  readonly alpha: number;
  /** By their names inside the model: `model.layers.0.self_attn.q_proj.lora_A.weight`. */
  readonly tensors: TensorSource;
}

/**
 * Reads an archive. `shapes`: the tensors that are expected, others are left out.
 * Errors: WEIR_E_REMOTE for an archive that lacks a file or a tensor, or has one of another shape.
 */
export async function readAdapterArchive(
  archive: Uint8Array,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<ReceivedAdapter> {
  const files = filesOf(archive);
  const file = (name: string): Uint8Array =>
    files.get(name) ?? refuse(`has no ${name} (it has ${[...files.keys()].join(", ") || "nothing"})`);
  const config = PEFT.safeParse(JSON.parse(new TextDecoder().decode(file(CONFIG))));
  if (!config.success) return refuse(`has a ${CONFIG} without r and lora_alpha`);
  const folder = await mkdtemp(join(tmpdir(), "weir-adapter-"));
  try {
    const path = join(folder, WEIGHTS);
    await writeFile(path, file(WEIGHTS));
    const source = await readSafetensors(path);
    const stored = new Map(source.names().map((name) => [name.replace(PREFIX, ""), name]));
    const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
    for (const [name, shape] of shapes) {
      const found = stored.get(name);
      const size = found === undefined ? "none" : source.shape(found).join(" × ");
      if (found === undefined || size !== shape.join(" × "))
        return refuse(`has ${name} of shape ${size}, ${shape.join(" × ")} is expected`);
      tensors[name] = { shape, data: source.read(found) };
    }
    return { rank: config.data.r, alpha: config.data.lora_alpha, tensors: tensorsInMemory(tensors) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Plain files of a .tar.gz by the last part of their names. */
function filesOf(archive: Uint8Array): ReadonlyMap<string, Uint8Array> {
  let tar: Uint8Array;
  try {
    tar = gunzipSync(archive);
  } catch {
    return refuse("is not gzip");
  }
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + BLOCK <= tar.length; ) {
    const header = tar.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) break;
    const text = (from: number, length: number) =>
      new TextDecoder().decode(header.subarray(from, from + length)).replace(/\0.*$/s, "");
    const size = sizeOf(header.subarray(124, 136));
    const kind = text(156, 1);
    at += BLOCK;
    if (at + size > tar.length) return refuse("is truncated");
    if (kind === "0" || kind === "") files.set(basename(text(0, 100)), tar.subarray(at, at + size));
    at += Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

/** A size field: octal digits, or binary where the first bit is set. */
function sizeOf(field: Uint8Array): number {
  if (((field[0] as number) & 128) === 0)
    return Number.parseInt(new TextDecoder().decode(field).replace(/[\0 ]+/g, "") || "0", 8);
  return field.subarray(1).reduce((value, byte) => value * 256 + byte, 0);
}

function refuse(what: string): never {
  throw new WeirError("WEIR_E_REMOTE", `the adapter's archive from the server ${what}`);
}
