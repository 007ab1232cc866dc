/**
 * The content hash of a set of weights (I9): SHA-256 over the digests of its tensors in name order; a tensor's digest is the
 * SHA-256 over the SHA-256s of its pieces of DIGEST_PIECE_BYTES. Pieces are independent, so a kernel hashes them in parallel.
 */
import { createHash } from "node:crypto";

/** Bytes of one piece. As kPieceBytes in native/ops/digest.cc. */
const DIGEST_PIECE_BYTES = 1024 * 1024;

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** Digest of one tensor's float32 values. */
export function tensorDigest(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const pieces: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += DIGEST_PIECE_BYTES) {
    pieces.push(sha256(bytes.subarray(start, start + DIGEST_PIECE_BYTES)));
  }
  return sha256(Buffer.concat(pieces));
}

/** Hex hash of the tensors' digests, given in name order. */
export function contentHash(digests: readonly Uint8Array[]): string {
  return sha256(Buffer.concat(digests)).toString("hex");
}
