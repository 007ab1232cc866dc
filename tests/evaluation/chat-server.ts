/** An OpenAI-compatible server with scripted answers, on loopback. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly temperature: number;
  readonly top_p: number;
  readonly max_tokens: number;
  readonly seed: number;
}

export interface ChatServer {
  readonly url: string;
  readonly requests: ChatRequest[];
  /** Most requests at the same time so far. */
  readonly most: () => number;
  close(): void;
}

/** A completion as servers give it. */
export const completion = (content: string | null, more: object = {}, usage: object | null = null) => ({
  choices: [{ message: { role: "assistant", content, ...more }, finish_reason: "stop" }],
  usage: usage ?? { prompt_tokens: 12, completion_tokens: 3 },
});

/** `answer` writes the whole response to a chat request; GET /v1/models is answered while the server is open. */
export async function chatServer(
  answer: (
    request: ChatRequest,
    response: ServerResponse,
    raw: IncomingMessage,
  ) => Promise<object | null> | object | null,
): Promise<ChatServer> {
  const requests: ChatRequest[] = [];
  let [now, most] = [0, 0];
  const server = createServer((raw, response) => {
    const parts: Buffer[] = [];
    raw.on("data", (part: Buffer) => parts.push(part));
    raw.on("end", async () => {
      if (raw.method === "GET") return response.end('{"data":[]}');
      const request = JSON.parse(Buffer.concat(parts).toString()) as ChatRequest;
      requests.push(request);
      most = Math.max(most, ++now);
      const body = await answer(request, response, raw);
      now--;
      if (body !== null) response.setHeader("content-type", "application/json").end(JSON.stringify(body));
      return undefined;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  onTestFinished(close);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, requests, most: () => most, close };
}
