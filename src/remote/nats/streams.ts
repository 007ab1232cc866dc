/** Streams of JetStream as weir makes and reads them. */
import { type OrderedConsumerOptions, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import type { MsgHdrs } from "@nats-io/transport-node";
import { pause } from "../../system/pause.js";
import { realTime } from "../../system/time.js";
import { whenAborted } from "../../system/when-aborted.js";
import { apiCode, type NatsLine } from "./nats-server.js";

/** "stream name already in use with a different configuration". */
const OTHER_CONFIGURATION = 10058;
const NO_MESSAGE = 10037;
const NO_STREAM = 10059;
/** Wait before a reader that lost its stream looks again, ms. */
const LOST_MS = 500;

export const isMissing = (error: unknown) => [NO_MESSAGE, NO_STREAM].includes(apiCode(error) ?? 0);

/** Makes a stream, or gives the present one this configuration. It lies on the server's disk. */
export async function ensureStream(
  { manager }: NatsLine,
  config: Partial<StreamConfig> & { readonly name: string },
): Promise<void> {
  const whole = { storage: StorageType.File, retention: RetentionPolicy.Limits, ...config };
  try {
    await manager.streams.add(whole);
  } catch (error) {
    if (apiCode(error) !== OTHER_CONFIGURATION) throw error;
    await manager.streams.update(config.name, config);
  }
}

export interface StoredMessage {
  readonly seq: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: MsgHdrs | undefined;
}

/** The last message of a subject; null where there is none, or no such stream. */
export async function lastMessage(
  { manager }: NatsLine,
  stream: string,
  subject: string,
): Promise<StoredMessage | null> {
  try {
    const found = await manager.streams.getMessage(stream, { last_by_subj: subject });
    return found && { seq: found.seq, subject: found.subject, data: found.data, headers: found.header };
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Subjects below `prefix` that hold a message. */
export async function subjectsBelow({ manager }: NatsLine, stream: string, prefix: string): Promise<string[]> {
  try {
    const { state } = await manager.streams.info(stream, { subjects_filter: `${prefix}.>` });
    return Object.keys(state.subjects ?? {});
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

export async function removeMessage({ manager }: NatsLine, stream: string, seq: number): Promise<void> {
  await manager.streams.deleteMessage(stream, seq, false).catch((error: unknown) => {
    // Removed already, perhaps by a try of which no answer came.
    if (apiCode(error) === null) throw error;
  });
}

/**
 * The messages of a stream in order, from the first that it holds, as they come; goes on by itself after a loss of the connection or of
 * the stream. Nothing is taken away by reading. Ends with the signal.
 */
export async function* messagesOf(
  connected: () => Promise<NatsLine>,
  stream: string,
  signal: AbortSignal,
  options: Partial<OrderedConsumerOptions> & { readonly ahead: number },
): AsyncGenerator<StoredMessage> {
  const { ahead, ...ordered } = options;
  let after = 0;
  while (!signal.aborted) {
    try {
      const { stream: client } = await connected();
      const consumer = await client.consumers.get(stream, ordered);
      const messages = await consumer.consume({ max_messages: ahead, abort_on_missing_resource: true });
      const forget = whenAborted(signal, () => messages.stop());
      try {
        if (signal.aborted) messages.stop();
        for await (const { seq, subject, data, headers } of messages) {
          if (signal.aborted) return;
          if (seq <= after) continue;
          after = seq;
          yield { seq, subject, data, headers };
        }
      } finally {
        forget();
        await messages.close();
      }
    } catch (error) {
      if (signal.aborted) return;
      // A connection for good refused, and errors of the reader, are not waited out.
      if (!isMissing(error) && !isLost(error)) throw error;
    }
    if (!signal.aborted) await pause(realTime, LOST_MS, signal).catch(() => undefined);
  }
}

/** The connection, or what the consumer stood on, went away under a reader. */
function isLost(error: unknown): boolean {
  const { name = "" } = error as { readonly name?: string };
  return /^(Timeout|NoResponders|Connection|ClosedConnection|JetStream|ConsumerNotFound|StreamNotFound|Request)/.test(
    name,
  );
}
