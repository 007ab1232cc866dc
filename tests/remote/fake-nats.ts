/** A NATS server as far as it is asked what it is: the text protocol over TCP, and answers to requests of JetStream's interface. */
import { createServer, type Server, type Socket } from "node:net";

export interface FakeNatsOptions {
  /** Of its INFO. */
  readonly info?: Readonly<Record<string, unknown>>;
  /** The answer to a request of this subject, as JSON; nothing is answered where it is undefined. */
  readonly answer: (subject: string) => unknown;
}

export class FakeNats {
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  constructor(private readonly options: FakeNatsOptions) {
    this.server = createServer((socket) => this.serve(socket));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `nats://127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private serve(socket: Socket): void {
    this.sockets.add(socket);
    const info = {
      server_id: "fake",
      version: "2.9.10",
      proto: 1,
      headers: true,
      max_payload: 2 ** 20,
      jetstream: true,
    };
    socket.write(`INFO ${JSON.stringify({ ...info, ...this.options.info })}\r\n`);
    const subscriptions = new Map<string, string>();
    let text = "";
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
        const [verb = "", ...words] = text.slice(0, end).split(" ");
        const body = /^H?PUB$/i.test(verb) ? Number(words.at(-1)) + 2 : 0;
        if (text.length < end + 2 + body) return;
        text = text.slice(end + 2 + body);
        if (verb === "PING") socket.write("PONG\r\n");
        if (verb === "SUB") subscriptions.set((words[0] as string).replace(/[*>]$/, ""), words.at(-1) as string);
        if (body > 0) this.reply(socket, subscriptions, words[0] as string, words[1] as string);
      }
    });
  }

  private reply(socket: Socket, subscriptions: ReadonlyMap<string, string>, subject: string, to: string): void {
    const answer = this.options.answer(subject);
    const [, id] = [...subscriptions].find(([prefix]) => to.startsWith(prefix)) ?? [];
    if (answer === undefined || id === undefined) return;
    const payload = JSON.stringify(answer);
    socket.write(`MSG ${to} ${id} ${payload.length}\r\n${payload}\r\n`);
  }
}
