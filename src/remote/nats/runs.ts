/** The runs that have work at a NATS server. */
import { runOfStream } from "./names.js";
import type { NatsServer } from "./nats-server.js";
import { createNatsWorkQueue } from "./nats-work-queue.js";

/** Names of the runs that have announced themselves and have not ended, in order. */
export async function runsAt(server: NatsServer, signal: AbortSignal): Promise<string[]> {
  const found = await server.call("list the runs", signal, async ({ manager }) => {
    const runs: string[] = [];
    for await (const stream of manager.streams.names()) {
      const run = runOfStream(stream);
      if (run !== null) runs.push(run);
    }
    return runs;
  });
  const announced: string[] = [];
  for (const run of found.sort()) {
    const queue = createNatsWorkQueue({ server, run: () => run, limits: null });
    if ((await queue.announced({ signal })) !== null) announced.push(run);
  }
  return announced;
}
