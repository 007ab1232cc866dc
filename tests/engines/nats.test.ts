/** The work queue and the policy store on a real NATS server. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeNats } from "../../src/remote/nats/describe-nats.js";
import { NatsPolicySource } from "../../src/remote/nats/nats-policy-source.js";
import { NatsPolicyStore } from "../../src/remote/nats/nats-policy-store.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../src/remote/nats/nats-work-queue.js";
import { createFolderPolicyStore } from "../../src/store/policy-folder.js";
import { unboundedPlace } from "../../src/store/policy-place.js";
import { describePolicyStore, describeWorkQueue } from "../../src/testing.js";
import type { ServerProcess } from "./server-process.js";
import { folderOfFile, notInstalled, startNats } from "./servers.js";

const framework = { describe, it };
const folder = folderOfFile();

/** A lease that is long against a delay of the server, short against a test. */
const LEASE_MS = 1_500;

const nats: ServerProcess | null = notInstalled("nats") ? null : await startNats({ folder });

describe.skipIf(notInstalled("nats"))("NATS", () => {
  const server = () => new NatsServer({ url: nats?.url ?? "", credentialsEnv: null });

  describeWorkQueue({
    framework,
    leaseMs: LEASE_MS,
    create: (limits) => {
      const run = randomUUID();
      return createNatsWorkQueue({ server: server(), run: () => run, limits });
    },
  });

  it("is described with the runs that have announced themselves and have not ended", async () => {
    const { signal } = new AbortController();
    const run = `described-${randomUUID()}`;
    const queue = createNatsWorkQueue({
      ...{ server: server(), run: () => run },
      limits: { bound: 4, resultBound: 4, leaseMs: LEASE_MS, maxAttempts: 2 },
    });
    const runs = async () =>
      (await describeNats({ url: nats?.url ?? "", credentialsEnv: null }, signal)).notes["runs with work"]?.split(", ");
    await queue.announce({ run }, { signal });
    expect(await runs()).toContain(run);
    await queue.announce(null, { signal });
    expect(await runs()).not.toContain(run);
    await queue.dispose?.();
    const described = await describeNats({ url: nats?.url ?? "", credentialsEnv: null }, signal);
    expect(described).toMatchObject({ kind: "nats", version: expect.stringMatching(/^\d+\.\d+/), problems: [] });
  });

  const storeIn = (local: string, run: string, maxBytes: number | null = null) =>
    new NatsPolicyStore({
      server: server(),
      run: () => run,
      local: createFolderPolicyStore(() => unboundedPlace(local)),
      maxBytes,
    });

  describePolicyStore({ framework, create: (local) => storeIn(local, randomUUID()) });

  const signal = new AbortController().signal;
  /** Writes a version of `bytes` random bytes and a file in a subfolder. */
  const writer =
    (n: number, bytes = 3_000_000) =>
    async (local: string | null) => {
      mkdirSync(join(local as string, "part"));
      writeFileSync(join(local as string, "weights.bin"), Buffer.alloc(bytes, n));
      writeFileSync(join(local as string, "part", "config.json"), `{"n":${n}}`);
      return {
        version: { n, sha256: `sha-${n}-${bytes}` },
        artifact: { kind: "checkpoint", uri: local as string },
        bytes,
      } as const;
    };

  it("hands a policy to a worker on another machine, by number or the newest, and gives up what is no longer kept", async () => {
    const run = randomUUID();
    const store = storeIn(join(folder, `${run}-run`), run);
    const copies = join(folder, `${run}-worker`);
    const source = new NatsPolicySource({ server: server(), run, folder: copies });
    await store.publish("checkpoint", writer(0), { signal });
    await store.publish("checkpoint", writer(1), { signal });
    const first = await source.get({ exactly: 0 }, { signal });
    const newest = await source.get({ atLeast: 0 }, { signal });
    expect([first.version.n, newest.version.n]).toEqual([0, 1]);
    expect(readFileSync(join(first.artifact.uri, "weights.bin")).equals(Buffer.alloc(3_000_000, 0))).toBe(true);
    expect(readFileSync(join(newest.artifact.uri, "part", "config.json"), "utf8")).toBe('{"n":1}');
    // The run's own records of the folder are not sent.
    expect((await readdir(newest.artifact.uri)).sort()).toEqual(["part", "weights.bin"]);
    await source.keep(new Set([1]));
    expect(await readdir(copies)).toHaveLength(1);
    await store.retain(new Set([1]));
    await expect(source.get({ exactly: 0 }, { signal })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    await expect(source.get({ atLeast: 2 }, { signal })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    // A rollback publishes other weights under the same number.
    await store.publish("checkpoint", writer(1, 5), { signal });
    const again = await source.get({ exactly: 1 }, { signal });
    expect(readFileSync(join(again.artifact.uri, "weights.bin"))).toEqual(Buffer.alloc(5, 1));
    await Promise.all([store.dispose(), source.dispose()]);
  });

  it("publishes nothing at the server beyond its budget, and leaves no part of it there", async () => {
    const run = randomUUID();
    const store = storeIn(join(folder, `${run}-run`), run, 8_000_000);
    await store.publish("checkpoint", writer(0), { signal });
    await store.publish("checkpoint", writer(1), { signal });
    await expect(store.assertRoom()).rejects.toThrow("WEIR_E_POLICY_BUDGET");
    await expect(store.publish("checkpoint", writer(2), { signal })).rejects.toThrow("WEIR_E_POLICY_BUDGET");
    const source = new NatsPolicySource({ server: server(), run, folder: join(folder, `${run}-worker`) });
    expect((await source.get({ atLeast: 0 }, { signal })).version.n).toBe(1);
    await store.retain(new Set());
    await store.assertRoom();
    await store.publish("checkpoint", writer(2), { signal });
    expect((await source.get({ exactly: 2 }, { signal })).version.n).toBe(2);
    await Promise.all([store.dispose(), source.dispose()]);
  });
});
