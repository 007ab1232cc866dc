/** The base model's folder on this side: what is told of the model, its content hash, and merging an adapter into it. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { LoraOptions } from "../../contracts/engine.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import { WeirError } from "../../errors.js";
import { writeAdapter } from "../../model/io/adapter-folder.js";
import { type ModelConfig, readModelConfig } from "../../model/io/config.js";
import { writeModelFolder } from "../../model/io/model-folder.js";
import { expectedTensors } from "../../model/io/tensor-names.js";
import { elementCount, type TensorSource } from "../../model/io/tensor-source.js";
import { readTensors } from "../../model/io/tensors.js";
import { adapterNames, adapterShapes, isAdapted } from "../../model/transformer/adapter-names.js";
import { contentHash, tensorDigest } from "../../model/transformer/content-hash.js";

export class BaseWeights {
  private hash: Promise<string> | null = null;

  private constructor(
    readonly directory: string,
    readonly config: ModelConfig,
    readonly lora: LoraOptions,
    private readonly tensors: TensorSource | null,
  ) {}

  /** Reads configuration and names; weights are read when they are needed. Errors: as `readModelConfig`. */
  static async open(directory: string, lora: LoraOptions): Promise<BaseWeights> {
    const config = await readModelConfig(directory);
    const tensors = await readTensors(directory, config).catch((error: unknown) => {
      if (WeirError.isInstance(error) && error.code === "WEIR_E_FILE_MISSING") return null;
      throw error;
    });
    return new BaseWeights(directory, config, lora, tensors);
  }

  /** A folder may have no weights where nothing but the server computes with them. */
  get hasWeights(): boolean {
    return this.tensors !== null;
  }

  get info(): ModelInfo {
    const count = (shapes: ReadonlyMap<string, readonly number[]>) =>
      [...shapes.values()].reduce((sum, shape) => sum + elementCount(shape), 0);
    const { config } = this;
    return {
      family: config.family,
      parameters: count(expectedTensors(config)),
      trainedParameters: count(this.pairShapes),
      vocabSize: config.vocabSize,
      maxPositions: config.maxPositions,
      stopIds: config.eosIds,
      padId: config.padId ?? 0,
    };
  }

  /** Shapes of the adapter's pairs by their names inside the model. */
  get pairShapes(): ReadonlyMap<string, readonly number[]> {
    return adapterShapes(expectedTensors(this.config), this.lora);
  }

  /** Content hash of the whole model, as adapter folders name their base. */
  sha256(): Promise<string> {
    this.hash ??= hashOf(this.source());
    return this.hash;
  }

  /** True where a model folder has these weights. Errors: as `readTensors`. */
  async isSame(directory: string): Promise<boolean> {
    const tensors = await readTensors(directory, this.config);
    return (await hashOf(tensors)) === (await this.sha256());
  }

  /** Writes an adapter as a PEFT folder inside `folder`; returns its path. */
  async writeAdapter(folder: string, pairs: TensorSource): Promise<string> {
    const base = { directory: this.directory, sha256: await this.sha256() };
    return writeAdapter(folder, { options: this.lora, tensors: pairs, base });
  }

  /** Writes a whole model folder: the base with W + (α/r)·B·A in the place of each adapted W, and the adapter with it. */
  async writeMerged(folder: string, pairs: TensorSource): Promise<void> {
    const source = this.source();
    const merged: TensorSource = {
      names: () => source.names(),
      shape: (name) => source.shape(name),
      read: (name) => (isAdapted(name, this.lora) ? this.merged(name, pairs) : source.read(name)),
    };
    await writeModelFolder(folder, { sourceDir: this.directory, tensors: merged, dtype: "float32" });
    await this.writeAdapter(folder, pairs);
  }

  private source(): TensorSource {
    if (this.tensors !== null) return this.tensors;
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      `${this.directory} holds no weights, so that nothing can be merged into them or be named by them; fetch the whole model folder, or publish handles`,
      { directory: this.directory },
    );
  }

  /** Sums in float64; [out, in]. */
  private merged(name: string, pairs: TensorSource): Float32Array {
    const { rank, alpha } = this.lora;
    const { a, b } = adapterNames(name);
    const [left, right] = [pairs.read(b), pairs.read(a)]; // [out, r], [r, in]
    const weight = this.source().read(name);
    const columns = right.length / rank;
    const row = new Float64Array(columns);
    for (let out = 0; out < left.length / rank; out += 1) {
      row.fill(0);
      for (let k = 0; k < rank; k += 1) {
        const factor = (left[out * rank + k] as number) * (alpha / rank);
        if (factor === 0) continue;
        const from = k * columns;
        for (let i = 0; i < columns; i += 1) row[i] = (row[i] as number) + factor * (right[from + i] as number);
      }
      const at = out * columns;
      for (let i = 0; i < columns; i += 1) weight[at + i] = (weight[at + i] as number) + (row[i] as number);
    }
    return weight;
  }
}

async function hashOf(tensors: TensorSource): Promise<string> {
  const digests: Uint8Array[] = [];
  for (const name of tensors.names()) {
    digests.push(tensorDigest(tensors.read(name)));
    // Heartbeats and the monitor go on meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return contentHash(digests);
}

/** Sizes of the files in a folder. */
export async function folderBytes(directory: string): Promise<number> {
  const names = await readdir(directory);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
