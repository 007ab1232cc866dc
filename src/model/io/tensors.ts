/**
 * Reads the weights of a Hugging Face model folder, single-file or sharded, and checks them against its configuration.
 * Invariant: what `names()` lists is exactly what the configuration asks for, each with the right shape.
 */
import type { WeirError } from "../../errors.js";
import { type ModelConfig, readModelConfig } from "./config.js";
import { expectedTensors, isBuffer } from "./tensor-names.js";
import { type TensorSource, unknownTensor } from "./tensor-source.js";
import {
  EMBEDDING,
  HEAD,
  type Holder,
  storedTensors,
  tensorFault,
  underModelNames,
  wrapperPrefix,
} from "./weight-holders.js";

export { WEIGHTS_FILE, WEIGHTS_INDEX } from "./weight-holders.js";

const valuesOf = ({ file, name }: Holder): Float32Array => file.read(name);

/** A head that is stored with a tied embedding is redundant, so the two must be equal. */
function checkTiedHead(directory: string, holders: ReadonlyMap<string, Holder>): void {
  const [headHolder, embeddingHolder] = [holders.get(HEAD), holders.get(EMBEDDING)];
  if (headHolder === undefined || embeddingHolder === undefined) return;
  const [head, embedding] = [valuesOf(headHolder), valuesOf(embeddingHolder)];
  if (head.length !== embedding.length || head.some((value, i) => value !== embedding[i]))
    throw tensorFault(
      directory,
      `tensor ${HEAD} differs from ${EMBEDDING} although config.json says tie_word_embeddings. ` +
        "Set tie_word_embeddings to false or remove the head.",
      HEAD,
    );
}

/** Why an expected tensor may be missing. */
function missing(
  directory: string,
  name: string,
  shape: readonly number[],
  stored: ReadonlyMap<string, Holder>,
): WeirError {
  const prefix = wrapperPrefix(stored);
  if (prefix !== null)
    return tensorFault(
      directory,
      `every tensor's name begins with ${JSON.stringify(prefix)}, expected ${name} and its kin: the model was saved through a wrapper. ` +
        "Save the model inside the wrapper (save_pretrained of the unwrapped model).",
      name,
    );
  if (name === HEAD)
    return tensorFault(
      directory,
      `tensor ${HEAD} [${shape.join(", ")}] is missing and config.json does not say tie_word_embeddings. ` +
        "Fetch the whole model folder; if the model's head is its embedding, set tie_word_embeddings to true.",
      name,
    );
  return tensorFault(directory, `tensor ${name} [${shape.join(", ")}] is missing. Fetch the whole model folder.`, name);
}

/** Throws for the first expected tensor that is missing or of another shape, and for one that the model does not have. */
function check(
  directory: string,
  model: ModelConfig,
  holders: ReadonlyMap<string, Holder>,
  stored: ReadonlyMap<string, Holder>,
): void {
  const expected = expectedTensors(model);
  for (const [name, shape] of expected) {
    const holder = holders.get(name);
    if (holder === undefined) throw missing(directory, name, shape, stored);
    holder.file.assertReadable(holder.name);
    const found = holder.file.shape(holder.name);
    if (found.length !== shape.length || found.some((size, axis) => size !== shape[axis]))
      throw tensorFault(
        directory,
        `tensor ${name} has the shape [${found.join(", ")}], config.json asks for [${shape.join(", ")}]. Use files of one model.`,
        name,
      );
  }
  for (const [name, holder] of holders) {
    if (expected.has(name) || isBuffer(name, holder.file.dtype(holder.name))) continue;
    if (name === HEAD) checkTiedHead(directory, holders);
    else
      throw tensorFault(
        directory,
        `tensor ${name} has no place in a ${model.family} model of this configuration. ` +
          "Use the config.json that belongs to these weights; if the tensor is no part of the language model, save the folder without it.",
        name,
      );
  }
}

/**
 * Opens the weights of a model folder. `config`: its configuration, where it has been read already.
 * Throws WEIR_E_FILE_MISSING, and WEIR_E_MODEL_FILES whose `details.tensor` names a missing, extra, wrongly shaped or
 * truncated tensor or one of whole numbers; and as `readModelConfig` when no config is given. Reading throws
 * WEIR_E_NON_FINITE for a float64 that float32 cannot hold.
 */
export async function readTensors(directory: string, config?: ModelConfig): Promise<TensorSource> {
  const model = config ?? (await readModelConfig(directory));
  const stored = await storedTensors(directory);
  const holders = underModelNames(stored, model.tieWordEmbeddings);
  check(directory, model, holders, stored);
  const expected = expectedTensors(model);
  const holder = (name: string): Holder => {
    const found = expected.has(name) ? holders.get(name) : undefined;
    if (found === undefined) throw unknownTensor(name, directory);
    return found;
  };
  return {
    names: () => [...expected.keys()].sort(),
    shape: (name) => holder(name).file.shape(holder(name).name),
    read: (name) => valuesOf(holder(name)),
  };
}
