/** What a NATS server says of itself, for the check of a configuration. */
import type { ServerDescription } from "../../contracts/server.js";
import { gib } from "../../store/policy-place.js";
import { NatsServer, type NatsServerOptions } from "./nats-server.js";
import { runsAt } from "./runs.js";

/** Of a message, bytes: below it even a short group goes through the object store. */
const LEAST_PAYLOAD = 64 * 1024;

/** Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE, WEIR_E_CONFIG. */
export async function describeNats(options: NatsServerOptions, signal: AbortSignal): Promise<ServerDescription> {
  const server = new NatsServer(options);
  try {
    const found = await server.call("describe itself", signal, async ({ connection, manager }) => {
      const { storage, limits } = await manager.getAccountInfo();
      return { info: connection.info, storage, limits };
    });
    const { info, storage, limits } = found;
    const largest = info?.max_payload ?? 0;
    const runs = await runsAt(server, signal);
    return {
      ...{ kind: "nats", url: options.url, version: info?.version ?? null, models: [], maxTokens: null },
      ...{ sampler: null, trainer: null },
      notes: {
        "largest message": `${Math.round(largest / 1024)} KiB`,
        storage: `${gib(storage)} in use, ${limits.max_storage > 0 ? gib(limits.max_storage) : "no limit"} allowed`,
        "runs with work": runs.join(", ") || "none",
      },
      problems:
        largest < LEAST_PAYLOAD ? [`messages hold ${largest} bytes at most; set max_payload to 1MB or more`] : [],
    };
  } finally {
    await server.close();
  }
}
