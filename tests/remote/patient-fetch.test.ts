import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { patientFetch } from "../../src/remote/patient-fetch.js";

const open: { close(): void }[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

async function serving(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  open.push({ close: () => server.closeAllConnections() });
  open.push(server);
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a fetch without a limit of its own", () => {
  it("sends method, headers and body, and gives status, headers and body", async () => {
    const url = await serving((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        const { method, url, headers } = request;
        response.writeHead(404, { "x-seen": "yes" });
        response.end(
          JSON.stringify({ method, url, key: headers.authorization, body: Buffer.concat(parts).toString() }),
        );
      });
    });
    const response = await patientFetch(`${url}/a?b=c`, { method: "POST", headers: { authorization: "k" }, body: "é" });
    expect([response.status, response.headers.get("x-seen")]).toEqual([404, "yes"]);
    expect(await response.json()).toEqual({ method: "POST", url: "/a?b=c", key: "k", body: "é" });
  });

  it("follows no redirect, and takes an answer without a body", async () => {
    const url = await serving(({ url: path }, response) => {
      response.writeHead(path === "/none" ? 204 : 302, { location: "http://elsewhere.test/" }).end();
    });
    expect((await patientFetch(`${url}/moved`)).status).toBe(302);
    expect((await patientFetch(`${url}/none`)).status).toBe(204);
  });

  it("hangs up when its signal aborts, before the answer and within it", async () => {
    let hungUp = 0;
    let controller = new AbortController();
    const url = await serving(({ url: path }, response) => {
      response.on("close", () => {
        hungUp += 1;
      });
      if (path === "/half") response.write("half");
      else controller.abort(new Error("enough"));
    });
    await expect(patientFetch(`${url}/never`, { signal: controller.signal })).rejects.toThrow();
    controller = new AbortController();
    const half = await patientFetch(`${url}/half`, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(half.text()).rejects.toThrow();
    await expect.poll(() => hungUp).toBe(2);
  });

  it("rejects with the system's code where nobody listens", async () => {
    const url = await serving(() => undefined);
    for (const server of open.splice(0)) server.close();
    await expect(patientFetch(url)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});
