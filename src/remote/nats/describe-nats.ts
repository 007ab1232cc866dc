/** What a NATS server says of itself, for `weir doctor --engine`. Nothing is made there. */
import type { ServerDescription } from "../../contracts/server.js";
import { NatsServer, type NatsServerOptions } from "./nats-server.js";

const MIB = 2 ** 20;

/** Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE for a server without JetStream, or that refuses the credentials; WEIR_E_CONFIG. */
export async function describeNats(options: NatsServerOptions, signal: AbortSignal): Promise<ServerDescription> {
  const server = new NatsServer(options);
  try {
    return await server.call("describe itself", signal, async ({ connection, manager }) => {
      const { info } = connection;
      const { limits, storage } = await manager.getAccountInfo();
      const room = (bytes: number | undefined) =>
        bytes === undefined || bytes < 0 ? "as much as its disk has" : `${Math.floor(bytes / MIB)} MiB`;
      return {
        kind: "nats",
        url: server.url,
        version: info?.version ?? null,
        models: [],
        maxTokens: null,
        sampler: null,
        trainer: null,
        notes: {
          "room for queues and policies": room(limits.max_storage),
          "of it used": room(storage),
          "largest message": room(info?.max_payload),
        },
        problems: [],
      };
    });
  } finally {
    await server.close();
  }
}
