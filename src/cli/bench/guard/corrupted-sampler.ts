/**
 * A sampler whose copy of the weights is damaged: one tensor has another scale, as after a wrong quantisation. It says of its tokens
 * that they come from the version that it was given, so that only their log-probs can tell.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { PublishedPolicy } from "../../../contracts/published-policy.js";
import type { Sampler } from "../../../contracts/sampler.js";
import { writeModelFolder } from "../../../model/io/model-folder.js";
import type { TensorSource } from "../../../model/io/tensor-source.js";
import { readTensors } from "../../../model/io/tensors.js";
import { contentHash, tensorDigest } from "../../../model/transformer/content-hash.js";
import type { FaultWindow } from "./fault-window.js";

/** The same tensors, but that one of them is multiplied by `factor`. */
export function withScaled(source: TensorSource, tensor: string, factor: number): TensorSource {
  const read = (name: string) => {
    const values = source.read(name);
    return name === tensor ? values.map((value) => factor * value) : values;
  };
  return { ...source, read };
}

export interface CorruptedOptions {
  readonly window: Pick<FaultWindow, "active">;
  /** Name of the tensor, as in the model folder. */
  readonly tensor: string;
  /** What its values are multiplied by. */
  readonly factor: number;
  /** Folder for damaged copies. */
  readonly folder: string;
}

/** Wraps a sampler that adopts folders; one that adopts handles only shares its weights with the trainer and is left as it is. */
export function corruptedSampler(inner: Sampler, { window, tensor, factor, folder }: CorruptedOptions): Sampler {
  let given: PublishedPolicy | null = null;
  /** Hash of the damaged copy that the sampler holds; null where it holds what it was given. */
  let damaged: string | null = null;

  const exchange = async (options: Parameters<Sampler["adopt"]>[1]) => {
    if (given === null || given.artifact.kind !== "checkpoint" || window.active === (damaged !== null)) return;
    if (!window.active) {
      await inner.adopt(given, options);
      damaged = null;
      return;
    }
    const { version, artifact } = given;
    const tensors = withScaled(await readTensors(artifact.uri), tensor, factor);
    const uri = join(folder, `damaged-${version.n}`);
    await writeModelFolder(uri, { sourceDir: artifact.uri, tensors, dtype: "float32" });
    const sha256 = contentHash(tensors.names().map((name) => tensorDigest(tensors.read(name))));
    try {
      await inner.adopt({ ...given, version: { n: version.n, sha256 }, artifact: { ...artifact, uri } }, options);
      damaged = sha256;
    } finally {
      await rm(uri, { recursive: true, force: true });
    }
  };

  return {
    ...inner,
    async adopt(policy, options) {
      await inner.adopt(policy, options);
      given = policy;
      damaged = null;
    },
    async sample(request, options) {
      await exchange({ ...options, inFlight: "wait" });
      const reply = await inner.sample(request, options);
      const { version } = given ?? { version: null };
      if (damaged === null || version === null) return reply;
      const named = <S extends { readonly version: number }>(span: S) =>
        span.version === version.n ? { ...span, sha256: version.sha256 } : span;
      return {
        ...reply,
        sequences: reply.sequences.map((group) => group.map((one) => ({ ...one, spans: one.spans.map(named) }))),
      };
    },
  };
}
