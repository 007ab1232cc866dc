/** What weir doctor says of a NATS server, and what it says where there is none that can be used. */
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { describeNats } from "../../src/remote/nats/describe-nats.js";
import { FakeNats, type FakeNatsOptions } from "./fake-nats.js";

const signal = new AbortController().signal;
const GIB = 2 ** 30;
let server: FakeNats | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

const LIMITS = { max_memory: -1, max_storage: -1, max_streams: -1, max_consumers: -1 };
const ACCOUNT = { memory: 0, storage: 3 * GIB, streams: 1, consumers: 0, limits: LIMITS };
const missing = { error: { code: 404, err_code: 10_037, description: "no message found" } };

/** The answers of a server whose account and streams are these. */
const answers =
  (account: object, streams: readonly string[] = []) =>
  (subject: string): unknown => {
    if (subject === "$JS.API.INFO") return { type: "io.nats.jetstream.api.v1.account_info_response", ...account };
    if (subject === "$JS.API.STREAM.NAMES")
      return {
        type: "io.nats.jetstream.api.v1.stream_names_response",
        ...{ total: streams.length, offset: 0, limit: 1_024, streams },
      };
    return missing;
  };

async function described(options: Partial<FakeNatsOptions> = {}) {
  server = new FakeNats({ answer: answers(ACCOUNT), ...options });
  const url = await server.start();
  return { url, found: describeNats({ url, credentialsEnv: null, patienceMs: 0 }, signal) };
}

describe("a NATS server", () => {
  it("tells its version, the largest message, its storage and the runs that have work", async () => {
    const { url, found } = await described();
    expect(await found).toEqual({
      ...{ kind: "nats", url, version: "2.9.10", models: [], maxTokens: null, sampler: null, trainer: null },
      notes: {
        "largest message": "1024 KiB",
        storage: "3.00 GiB in use, no limit allowed",
        "runs with work": "none",
      },
      problems: [],
    });
  });

  it("tells the limit of its storage, and no run that has not announced itself", async () => {
    const account = { ...ACCOUNT, limits: { ...LIMITS, max_storage: 10 * GIB } };
    const { found } = await described({ answer: answers(account, ["WEIR_old_META", "WEIR_old_TASKS", "OTHER"]) });
    expect((await found).notes).toMatchObject({
      storage: "3.00 GiB in use, 10.0 GiB allowed",
      "runs with work": "none",
    });
  });

  it("whose messages are too small says what to change", async () => {
    const { found } = await described({ info: { max_payload: 32_768 } });
    expect((await found).problems).toEqual(["messages hold 32768 bytes at most; set max_payload to 1MB or more"]);
  });

  it("without JetStream is refused with the option that it lacks", async () => {
    const { url, found } = await described({ info: { jetstream: false } });
    await expect(found).rejects.toThrow(`WEIR_E_REMOTE: ${url} has no JetStream; start the server with --jetstream`);
  });

  it("that refuses to tell of its account is told with its own words", async () => {
    const refusal = { error: { code: 400, err_code: 10_035, description: "not enabled for this account" } };
    const { found } = await described({ answer: () => refusal });
    await expect(found).rejects.toThrow(/WEIR_E_REMOTE.*refused to describe itself: .*not enabled for this account/);
  });

  it("is unreachable where nothing listens", async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    const options = { url: `nats://127.0.0.1:${port}`, credentialsEnv: null, patienceMs: 0 };
    await expect(describeNats(options, signal)).rejects.toMatchObject({ code: "WEIR_E_UNREACHABLE" });
  });

  it("has an address without a user name, and credentials in a file", async () => {
    const named = { url: "nats://me:secret@127.0.0.1:4222", credentialsEnv: null };
    await expect(describeNats(named, signal)).rejects.toMatchObject({ code: "WEIR_E_CONFIG" });
    const { url, found } = await described();
    await found;
    const environment = { CREDENTIALS: "/no/such/file" };
    const given = { url, credentialsEnv: "CREDENTIALS", environment, patienceMs: 0 };
    await expect(describeNats(given, signal)).rejects.toThrow(/WEIR_E_CONFIG.*CREDENTIALS/);
  });
});
