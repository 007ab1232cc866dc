/** Results that are asked for, sessions, and what is told of a server that has forgotten something. */
import { afterEach, describe, expect, it } from "vitest";
import { TinkerClient } from "../../src/remote/tinker/client.js";
import { realTime } from "../../src/system/time.js";
import { FakeTinker, type FakeTinkerOptions } from "./fake-tinker.js";

const signal = new AbortController().signal;
let server: FakeTinker;
afterEach(() => server.stop());

type Answer = ReturnType<NonNullable<FakeTinkerOptions["intercept"]>>;

/** A client of a server that gives these answers to questions for results first. */
async function clientOf(answers: readonly Answer[], more: FakeTinkerOptions = {}, deadlineMs = 10_000) {
  const left = [...answers];
  let asked = 0;
  server = new FakeTinker({
    ...more,
    intercept: (path, body) => {
      if (path !== "retrieve_future") return more.intercept?.(path, body) ?? null;
      asked += 1;
      return left.shift() ?? null;
    },
  });
  const url = await server.start();
  const client = new TinkerClient({ url, apiKey: "tml-secret-key", patienceMs: 500, deadlineMs, time: realTime });
  await client.open(signal);
  const submit = () => client.submit("unload_model", { json: { model_id: "none" } }, signal);
  return { client, submit, asked: () => asked };
}

const of = (status: number, detail: string): Answer => ({ status, json: { detail } });

describe("a result", () => {
  it("is asked for again after 408, 425 and 500", async () => {
    const answers = [of(408, "Timeout waiting for result"), of(425, "still being created"), of(500, "oops")];
    const { client, submit, asked } = await clientOf(answers);
    expect(await client.result(await submit(), signal)).toEqual({ json: { status: "unloaded" } });
    expect(asked()).toBe(4);
    client.close();
  });

  it("is computed again where the server has given the promise up (410)", async () => {
    const { client, submit } = await clientOf([of(410, "Promise expired")]);
    expect(await client.result(await submit(), signal)).toEqual({ json: { status: "unloaded" } });
    expect(server.calls.filter((path) => path === "unload_model")).toHaveLength(2);
    client.close();
  });

  it.each([
    [404, "Future not found", "WEIR_E_REMOTE_STATE"],
    [400, "Model model_1 not loaded (likely stale request from previous server)", "WEIR_E_REMOTE_STATE"],
    [400, "LoRA rank 99 must be between 1 and 16", "WEIR_E_REMOTE"],
    [422, "unknown loss", "WEIR_E_REMOTE"],
  ])("that ends with status %i, %s, is %s", async (status, detail, code) => {
    const { client, submit } = await clientOf([of(status, detail)]);
    await expect(client.result(await submit(), signal)).rejects.toMatchObject({ code });
    client.close();
  });

  it("is not waited for beyond the deadline", async () => {
    const waiting = Array.from({ length: 10_000 }, () => of(425, "still being created"));
    const { client, submit } = await clientOf(waiting, {}, 1_200);
    await expect(client.result(await submit(), signal)).rejects.toMatchObject({ code: "WEIR_E_UNREACHABLE" });
    client.close();
  });
});

describe("a call", () => {
  const refusing = (status: number, detail: string): FakeTinkerOptions => ({
    intercept: (path) => (path === "unload_model" ? of(status, detail) : null),
  });
  it.each([
    [409, "Training request sequence number was reused", "WEIR_E_REMOTE_STATE"],
    [409, "Checkpoint 'x' already exists", "WEIR_E_REMOTE"],
    [404, "Session not found", "WEIR_E_REMOTE_STATE"],
    [404, "Not Found", "WEIR_E_REMOTE"],
    [503, "starting", "WEIR_E_UNREACHABLE"],
  ])("that is answered with status %i, %s, is %s", async (status, detail, code) => {
    const { client, submit } = await clientOf([], refusing(status, detail));
    await expect(submit()).rejects.toMatchObject({ code });
    client.close();
  });

  it("shows no key, also where the server repeats it", async () => {
    const { client, submit } = await clientOf([], refusing(401, "wrong key tml-secret-key"));
    await expect(submit()).rejects.toThrow(/wrong key \[redacted\]/);
    client.close();
  });
});

describe("a session", () => {
  it("that lives is kept, and one that ended is begun anew", async () => {
    const { client } = await clientOf([]);
    const first = client.sessionId;
    expect(await client.open(signal)).toBe(false);
    expect(client.sessionId).toBe(first);
    server.forget();
    expect(await client.open(signal)).toBe(true);
    expect(client.sessionId).not.toBe(first);
    client.close();
  });
});
