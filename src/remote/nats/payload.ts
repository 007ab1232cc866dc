/**
 * Values as messages: JSON, compressed; what is too large for a message goes to an object store, and the message holds its name.
 * Numbers come back as they were, to the last bit.
 */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { type ObjectStore, Objm, StorageType } from "@nats-io/obj";
import { headers, type MsgHdrs, nanos } from "@nats-io/transport-node";
import { WeirError } from "../../errors.js";
import type { NatsLine } from "./nats-server.js";

const BLOB = "weir-blob";
/** Left for headers and subject in a message of the largest size, bytes. */
const HEADER_ROOM = 8 * 1024;
/** Fast: prompts and log-probs shrink to a third already. */
const LEVEL = 1;
/** What a lost worker left is removed after this time. */
const BLOB_LIFE_MS = 24 * 60 * 60_000;
const PIECE_BYTES = 128 * 1024;

const compress = promisify(gzip);
const expand = promisify(gunzip);

export interface Packed {
  readonly data: Uint8Array;
  readonly headers: MsgHdrs;
}

/** `name` is that of the object, where one is needed; it must be new. */
export async function pack(line: NatsLine, bucket: string, name: string, value: unknown): Promise<Packed> {
  const data = await compress(JSON.stringify(value), { level: LEVEL });
  const packed = { data, headers: headers() };
  if (data.length + HEADER_ROOM <= (line.connection.info?.max_payload ?? 0)) return packed;
  const store = await blobs(line, bucket);
  await store.putBlob({ name, options: { max_chunk_size: PIECE_BYTES } }, data);
  packed.headers.set(BLOB, name);
  return { ...packed, data: new Uint8Array() };
}

/** Errors: WEIR_E_WORK_QUEUE where the object is gone, or the message is none of weir's. */
export async function unpack(
  line: NatsLine,
  bucket: string,
  message: { readonly data: Uint8Array; readonly headers?: MsgHdrs | undefined },
): Promise<unknown> {
  const name = blobOf(message.headers);
  const data = name === null ? message.data : await (await blobs(line, bucket)).getBlob(name);
  if (data === null || data === undefined)
    throw new WeirError("WEIR_E_WORK_QUEUE", `the content ${name} of a message is gone from ${bucket}`);
  try {
    return JSON.parse((await expand(data)).toString("utf8")) as unknown;
  } catch (cause) {
    throw new WeirError("WEIR_E_WORK_QUEUE", "a message of the queue is not one of weir's", {}, { cause });
  }
}

/** Removes the object of a message, where it has one. */
export async function discard(line: NatsLine, bucket: string, given: MsgHdrs | undefined): Promise<void> {
  const name = blobOf(given);
  if (name !== null) await (await blobs(line, bucket)).delete(name);
}

function blobOf(given: MsgHdrs | undefined): string | null {
  return given?.get(BLOB) || null;
}

async function blobs(line: NatsLine, bucket: string): Promise<ObjectStore> {
  return new Objm(line.stream).create(bucket, { storage: StorageType.File, ttl: nanos(BLOB_LIFE_MS) });
}
