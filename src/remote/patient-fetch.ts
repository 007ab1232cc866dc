/**
 * `fetch` for calls that take minutes before the first byte: Node's own gives up 300 s after it has sent the request, whatever the
 * deadline of the caller. Redirects are not followed.
 */
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { Readable } from "node:stream";

/** Answers that have no body. */
const EMPTY = new Set([204, 205, 304]);

export const patientFetch: typeof globalThis.fetch = (input, init = {}) =>
  new Promise((resolve, reject) => {
    const { method = "GET", headers, body, signal } = init;
    const url = new URL(input instanceof Request ? input.url : input);
    const send = url.protocol === "https:" ? secure : plain;
    const bytes = body === undefined || body === null ? null : Buffer.from(body as string | Uint8Array);
    const options = {
      method,
      // A connection that a server closes between two calls would look like a lost call.
      headers: {
        ...Object.fromEntries(new Headers(headers)),
        connection: "close",
        ...(bytes && { "content-length": bytes.length }),
      },
      ...(signal ? { signal } : {}),
    };
    const call = send(url, options, (message) => {
      const { statusCode: status = 0, rawHeaders } = message;
      const pairs = rawHeaders.flatMap((name, i): [string, string][] =>
        i % 2 === 0 ? [[name, rawHeaders[i + 1] ?? ""]] : [],
      );
      if (EMPTY.has(status)) message.resume();
      const content = EMPTY.has(status) ? null : (Readable.toWeb(message) as ReadableStream<Uint8Array>);
      resolve(new Response(content, { status, headers: pairs }));
    });
    call.once("error", reject);
    call.end(bytes ?? undefined);
  });
