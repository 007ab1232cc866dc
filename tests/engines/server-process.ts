/**
 * A server that a test starts, stops, kills and starts again at the same address. It has a process group of its own, so that a signal
 * reaches whatever it has started, and its output goes to a file.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

export interface ServerCommand {
  /** Name for messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Address for clients. */
  readonly url: string;
  /** File that output is appended to. */
  readonly log: string;
  /** Whether it serves now; is asked again and again. `log` is what it has written since its start. */
  readonly ready: (log: string) => boolean | Promise<boolean>;
  /** A server that is not ready by then is ended, ms. */
  readonly startMs: number;
}

const POLL_MS = 250;
/** Servers that write their state on SIGTERM get this long before SIGKILL, ms. */
const END_MS = 20_000;

/** A port of the loopback interface that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

export class ServerProcess {
  private child: ChildProcess | null = null;
  private readFrom = 0;

  constructor(private readonly options: ServerCommand) {}

  get url(): string {
    return this.options.url;
  }

  get running(): boolean {
    return this.child !== null;
  }

  /** What it has written since it was started last. */
  log(): string {
    return readFileSync(this.options.log).subarray(this.readFrom).toString("utf8");
  }

  /** Resolves once it serves. Errors: with the end of its output where it ends before, or is not ready in time. */
  async start(): Promise<void> {
    if (this.child !== null) throw new Error(`${this.options.name} runs already`);
    const { name, command, args, env, log, ready, startMs } = this.options;
    const file = openSync(log, "a");
    this.readFrom = readFileSync(log).byteLength;
    const child = spawn(command, args, {
      detached: true,
      stdio: ["ignore", file, file],
      env: { ...process.env, ...env },
    });
    closeSync(file);
    this.child = child;
    let failure: Error | null = null;
    child.once("error", (error) => {
      failure = error;
      this.child = null;
    });
    // A test process that ends early leaves no server behind.
    const endWithTests = () => child.pid !== undefined && sendTo(child.pid, "SIGKILL");
    process.once("exit", endWithTests);
    child.once("exit", () => {
      process.removeListener("exit", endWithTests);
      this.child = null;
    });
    for (const until = Date.now() + startMs; ; await wait(POLL_MS)) {
      if (this.child === null) throw failure ?? new Error(`${name} ended before it was ready:\n${this.tail()}`);
      if (await ready(this.log())) return;
      if (Date.now() < until) continue;
      await this.kill();
      throw new Error(`${name} was not ready within ${startMs} ms:\n${this.tail()}`);
    }
  }

  /** Sends a signal to its whole process group: SIGSTOP and SIGCONT make it hang and go on. */
  signal(signal: NodeJS.Signals): void {
    if (this.child?.pid !== undefined) process.kill(-this.child.pid, signal);
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    await this.finish("SIGKILL");
  }

  /** Asks it to end, and ends it where it does not. */
  async end(): Promise<void> {
    await this.finish("SIGTERM");
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  private async finish(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child?.pid === undefined) return;
    const exited = once(child, "exit");
    sendTo(child.pid, signal);
    // A stopped process handles SIGTERM only once it goes on.
    sendTo(child.pid, "SIGCONT");
    const ended = await Promise.race([exited.then(() => true), wait(END_MS, false)]);
    // What the server started may outlive it.
    sendTo(child.pid, "SIGKILL");
    if (!ended) await exited;
    for (let tries = 0; groupExists(child.pid) && tries < 40; tries += 1) await wait(POLL_MS);
  }

  private tail(): string {
    return this.log().split("\n").slice(-40).join("\n");
  }
}

function sendTo(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function groupExists(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}
