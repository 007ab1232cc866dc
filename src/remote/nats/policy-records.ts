/**
 * Published policies at a NATS server: the files of each version in an object store, and one record per version that is written after
 * them. Invariants: a version is there as a whole once its record is; the record that is called current is that of the newest.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { type ObjectStore, Objm, StorageType } from "@nats-io/obj";
import { z } from "zod";
import { ARTIFACT_KINDS, type PublishedPolicy } from "../../contracts/published-policy.js";
import { WeirError } from "../../errors.js";
import { listFolder, sha256File } from "../../store/durable.js";
import { streamsOf } from "./names.js";
import { apiCode, isFull, type NatsLine } from "./nats-server.js";
import { ensureStream, lastMessage, removeMessage, subjectsBelow } from "./streams.js";

const CURRENT = "current";
const VERSION = "version";
const PIECE_BYTES = 512 * 1024;
const FILES = z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() }));

const recordSchema = z.object({
  policy: z.object({
    version: z.object({ n: z.number().int(), sha256: z.string() }),
    artifact: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal(ARTIFACT_KINDS[0]), uri: z.string() }),
      z.object({ kind: z.literal(ARTIFACT_KINDS[1]), uri: z.string(), baseSha256: z.string(), rank: z.number() }),
    ]),
    bytes: z.number(),
  }),
  /** Objects begin with this. */
  prefix: z.string(),
  files: FILES,
});

/** What the server holds of a version. Addresses in it are of the publisher. */
export type PolicyRecord = z.output<typeof recordSchema>;

export class PolicyRecords {
  constructor(private readonly run: string) {}

  get stream(): string {
    return streamsOf(this.run).policies.stream;
  }

  get currentSubject(): string {
    return `${this.subject}.${CURRENT}`;
  }

  /** Makes the stream and the object store. `maxBytes`: room for the files; null leaves it to the server. */
  async make(line: NatsLine, maxBytes: number | null): Promise<void> {
    await ensureStream(line, { name: this.stream, subjects: [`${this.subject}.>`], max_msgs_per_subject: 1 });
    const options = { storage: StorageType.File, ...(maxBytes === null ? {} : { max_bytes: Math.floor(maxBytes) }) };
    const { files } = streamsOf(this.run);
    await new Objm(line.stream).create(files, options);
    await line.manager.streams.update(`OBJ_${files}`, { max_bytes: maxBytes === null ? -1 : Math.floor(maxBytes) });
  }

  async current(line: NatsLine): Promise<PolicyRecord | null> {
    return recordOf(await lastMessage(line, this.stream, this.currentSubject));
  }

  async version(line: NatsLine, n: number): Promise<PolicyRecord | null> {
    return recordOf(await lastMessage(line, this.stream, this.subjectOf(n)));
  }

  async versions(line: NatsLine): Promise<number[]> {
    const prefix = `${this.subject}.${VERSION}`;
    return (await subjectsBelow(line, this.stream, prefix)).map((subject) => Number(subject.slice(prefix.length + 1)));
  }

  /** Sends the files of a local folder, then the record, which becomes the current one. */
  async write(line: NatsLine, policy: PublishedPolicy, left: ReadonlySet<string>): Promise<void> {
    const { n, sha256 } = policy.version;
    const folder = policy.artifact.uri;
    // Another publication of the same number is another prefix, and a try that was cut short leaves nothing that is read.
    const prefix = `v${n}-${sha256.slice(0, 12)}-${Date.now().toString(36)}`;
    const store = await this.objects(line);
    const files: Record<string, { readonly bytes: number; readonly sha256: string }> = {};
    for (const file of (await listFolder(folder)).files) {
      if (left.has(file)) continue;
      const path = join(folder, file);
      files[file] = { bytes: (await stat(path)).size, sha256: await sha256File(path) };
      const content = Readable.toWeb(createReadStream(path, { highWaterMark: PIECE_BYTES }));
      const name = `${prefix}/${file}`;
      await store.put({ name, options: { max_chunk_size: PIECE_BYTES } }, content as ReadableStream<Uint8Array>);
    }
    const record = JSON.stringify({ policy: { ...policy, artifact: { ...policy.artifact, uri: "." } }, prefix, files });
    await line.stream.publish(this.subjectOf(n), record);
    await line.stream.publish(this.currentSubject, record);
  }

  /** Writes a version's files into an empty folder. Errors: WEIR_E_POLICY_STORE for one that is gone or came damaged. */
  async read(line: NatsLine, { policy, prefix, files }: PolicyRecord, folder: string): Promise<void> {
    const store = await this.objects(line);
    const { n } = policy.version;
    for (const [file, { sha256 }] of Object.entries(files)) {
      const path = join(folder, file);
      if (!path.startsWith(folder + sep)) throw failed(`holds a policy version ${n} with the file name ${file}`);
      await mkdir(dirname(path), { recursive: true });
      const found = await store.get(`${prefix}/${file}`);
      if (found === null) throw failed(`has no ${file} of policy version ${n} any more`);
      await pipeline(Readable.fromWeb(found.data as NodeReadableStream<Uint8Array>), createWriteStream(path));
      const error = await found.error;
      // Nothing at all where the content has the digest that was stored with it.
      if (error) throw failed(`gave a damaged ${file} of policy version ${n}: ${error.message}`);
      if ((await sha256File(path)) !== sha256)
        throw failed(`gave ${file} of policy version ${n} with another content than was published`);
    }
  }

  /** Takes a version off the server: first its record, then its files. */
  async remove(line: NatsLine, n: number): Promise<void> {
    const message = await lastMessage(line, this.stream, this.subjectOf(n));
    if (message !== null) await removeMessage(line, this.stream, message.seq);
    const record = recordOf(message);
    if (record !== null) await this.removeFiles(line, ({ prefix }) => prefix === record.prefix);
  }

  /** Removes the files of publications that came to no record, and of records that were replaced. */
  async removeStray(line: NatsLine): Promise<void> {
    const known = new Set<string>();
    for (const n of await this.versions(line)) {
      const record = await this.version(line, n);
      if (record !== null) known.add(record.prefix);
    }
    await this.removeFiles(line, ({ prefix }) => !known.has(prefix));
  }

  /** Bytes that the files take. */
  async used(line: NatsLine): Promise<number> {
    return (await (await this.objects(line)).status()).size;
  }

  /** Removes everything of the run. */
  async removeAll({ manager }: NatsLine): Promise<void> {
    for (const stream of [this.stream, `OBJ_${streamsOf(this.run).files}`])
      await manager.streams.delete(stream).catch((error: unknown) => {
        if (apiCode(error) === null) throw error;
      });
  }

  private async removeFiles(line: NatsLine, which: (file: { readonly prefix: string }) => boolean): Promise<void> {
    const store = await this.objects(line);
    for (const { name } of await store.list())
      if (which({ prefix: name.slice(0, name.indexOf("/")) })) await store.delete(name);
  }

  private objects(line: NatsLine): Promise<ObjectStore> {
    return new Objm(line.stream).open(streamsOf(this.run).files, false);
  }

  private get subject(): string {
    return streamsOf(this.run).policies.subject;
  }

  private subjectOf(n: number): string {
    return `${this.subject}.${VERSION}.${n}`;
  }
}

/** Errors: WEIR_E_POLICY_STORE for a message that is no record. */
function recordOf(message: { readonly data: Uint8Array } | null): PolicyRecord | null {
  if (message === null) return null;
  try {
    return recordSchema.parse(JSON.parse(new TextDecoder().decode(message.data)));
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_POLICY_STORE",
      'the policy store "nats" holds a record that is not one of weir\'s',
      {},
      { cause },
    );
  }
}

export function failed(what: string): WeirError {
  return new WeirError("WEIR_E_POLICY_STORE", `the policy store "nats" ${what}`);
}

/** The object store says that it has no room. */
export function isNoRoom(error: unknown): boolean {
  return isFull(error) || (error instanceof Error && error.cause !== undefined && isFull(error.cause));
}
