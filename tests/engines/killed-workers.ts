/** Worker processes that are killed, and what their queue shows meanwhile. */
import { type ChildProcess, spawn } from "node:child_process";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { runsAt } from "../../src/remote/nats/runs.js";

export class WorkerProcess {
  private child: ChildProcess | null = null;
  output = "";

  /** Arguments of Node. */
  constructor(private readonly args: readonly string[]) {}

  start(): void {
    const child = spawn(process.execPath, [...this.args], { stdio: ["ignore", "pipe", "pipe"] });
    const hear = (text: Buffer) => {
      this.output += text.toString();
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    this.child = child;
  }

  /** Exit code after `signal`, or after it has ended by itself where that is null; null where it was killed. */
  async end(signal: NodeJS.Signals | null = "SIGTERM"): Promise<number | null> {
    const { child } = this;
    if (child === null) return null;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    if (signal !== null) child.kill(signal);
    return new Promise((done) => child.once("exit", (code) => done(code)));
  }
}

export interface KillsSeen {
  kills: number;
  /** Most tasks that the queue held at a time. */
  most: number;
  /** From each kill to the first delivery of a group to another worker, ms. */
  readonly redelivery: number[];
}

export interface KillOptions {
  readonly url: string;
  readonly victims: readonly WorkerProcess[];
  readonly everyMs: number;
}

/** Kills one worker after another while groups are with workers, and starts it again. */
export function killWorkers({ url, victims, everyMs }: KillOptions) {
  const server = new NatsServer({ url, credentialsEnv: null });
  const stop = new AbortController();
  const seen: KillsSeen = { kills: 0, most: 0, redelivery: [] };
  const watching = (async () => {
    let [last, killedAt] = [0, null as number | null];
    while (!stop.signal.aborted) {
      await new Promise((done) => setTimeout(done, 100));
      const state = await stateOf(server, stop.signal).catch(() => null);
      if (state === null) continue;
      seen.most = Math.max(seen.most, state.stored);
      if (killedAt !== null && state.redelivered > 0) {
        seen.redelivery.push(Date.now() - killedAt);
        killedAt = null;
      }
      if (Date.now() - last < everyMs || state.leased === 0) continue;
      const victim = victims[seen.kills % victims.length] as WorkerProcess;
      await victim.end("SIGKILL");
      last = Date.now();
      killedAt = last;
      seen.kills += 1;
      victim.start();
    }
  })();
  return {
    async stop(): Promise<KillsSeen> {
      stop.abort();
      await watching;
      await server.close();
      return seen;
    },
  };
}

/** Of the queue of the only run at the server; null without one. */
async function stateOf(server: NatsServer, signal: AbortSignal) {
  const [run] = await runsAt(server, signal);
  if (run === undefined) return null;
  return server.call("look at the queue", signal, async ({ manager }) => {
    const { state } = await manager.streams.info(`WEIR_${run}_TASKS`);
    const consumer = await manager.consumers.info(`WEIR_${run}_TASKS`, "workers");
    return { stored: state.messages, leased: consumer.num_ack_pending, redelivered: consumer.num_redelivered };
  });
}
