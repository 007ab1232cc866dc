/** Owns the conformance suite of policy stores; the built-ins run it too. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PolicyStore } from "../contracts/policy-store.js";
import { ARTIFACT_KINDS, type ArtifactKind, type PublishedPolicy } from "../contracts/published-policy.js";
import { WeirError } from "../errors.js";
import { registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface PolicyStoreSuiteOptions extends SuiteOptions {
  /** `folder` is empty, the test's own, and removed after it. */
  readonly create: (folder: string) => PolicyStore | Promise<PolicyStore>;
}

const live = () => ({ signal: new AbortController().signal });
const FILE = "weights.txt";
const coded = (error: unknown) => WeirError.isInstance(error) && error.code === "WEIR_E_POLICY_STORE";

/** Writes version n as `as` says. */
function writer(n: number, as: ArtifactKind) {
  return async (folder: string | null): Promise<PublishedPolicy> => {
    const version = { n, sha256: `sha-${n}` };
    if (as === "handle") {
      assert.equal(folder, null, "a handle needs no folder");
      return { version, artifact: { kind: "handle", uri: `handle:${n}` }, bytes: 0 };
    }
    assert.ok(folder !== null, `a ${as} needs a folder`);
    await writeFile(join(folder, FILE), `weights ${n}`);
    const artifact =
      as === "checkpoint" ? { kind: as, uri: folder } : { kind: as, uri: folder, baseSha256: "b", rank: 4 };
    return { version, artifact, bytes: 9 };
  };
}

type Check = (store: PolicyStore, as: ArtifactKind) => Promise<void> | void;

const CHECKS: Readonly<Record<string, Check>> = {
  "declares a kind, specification version 1 and what it holds": ({ kind, specificationVersion, capabilities }) => {
    assert.equal(typeof kind, "string");
    assert.notEqual(kind, "");
    assert.equal(specificationVersion, 1);
    assert.ok(capabilities.holds.length > 0, "holds something");
    assert.ok(
      capabilities.holds.every((form) => ARTIFACT_KINDS.includes(form)),
      `${capabilities.holds}`,
    );
  },
  "has no policy at first, then the one that was published last": async (store, as) => {
    assert.equal(await store.current(live()), null);
    await store.publish(as, writer(1, as), live());
    const second = await store.publish(as, writer(2, as), live());
    assert.equal(second.version.n, 2);
    assert.deepEqual(await store.current(live()), second);
  },
  "publishes nothing where writing fails": async (store, as) => {
    const first = await store.publish(as, writer(1, as), live());
    const fails = async () => {
      throw new Error("no room");
    };
    await assert.rejects(async () => store.publish(as, fails, live()), /no room/);
    assert.deepEqual(await store.current(live()), first);
  },
  "gives the files of a version under the address that it published, and refuses one it has not": async (store) => {
    const as = store.capabilities.holds.find((form) => form !== "handle");
    if (as === undefined) {
      await store.publish("handle", writer(1, "handle"), live());
      await assert.rejects(async () => store.fetch(1, live()), coded);
      return;
    }
    const policy = await store.publish(as, writer(3, as), live());
    const folder = await store.fetch(3, live());
    assert.equal(policy.artifact.uri, folder);
    assert.equal(await readFile(join(folder, FILE), "utf8"), "weights 3");
    await assert.rejects(async () => store.fetch(4, live()), coded);
  },
  "keeps the newest version and those that it is told to, and no other": async (store) => {
    const as = store.capabilities.holds.find((form) => form !== "handle");
    if (as === undefined) return;
    for (const n of [1, 2, 3]) await store.publish(as, writer(n, as), live());
    await store.retain(new Set([1]));
    await store.fetch(1, live());
    await store.fetch(3, live());
    await assert.rejects(async () => store.fetch(2, live()), coded);
  },
  "goes back to an older version, and drops the newer ones": async (store, as) => {
    await store.publish(as, writer(1, as), live());
    await store.publish(as, writer(2, as), live());
    const again = await store.publish(as, writer(1, as), live());
    assert.deepEqual(await store.current(live()), again);
    if (as !== "handle") await assert.rejects(async () => store.fetch(2, live()), coded);
  },
  "shows a reader the newest, skips what it was too slow for, and ends with the signal": async (store, as) => {
    await store.publish(as, writer(1, as), live());
    await store.publish(as, writer(2, as), live());
    const stop = new AbortController();
    const seen: number[] = [];
    for await (const { version } of store.watch(0, { signal: stop.signal })) {
      seen.push(version.n);
      if (seen.length === 1) await store.publish(as, writer(5, as), live());
      else stop.abort();
    }
    assert.deepEqual(seen, [2, 5]);
    const again = new AbortController();
    const after: number[] = [];
    for await (const { version } of store.watch(0, { signal: again.signal })) {
      after.push(version.n);
      if (after.length === 1) await store.publish(as, writer(3, as), live());
      else again.abort();
    }
    assert.deepEqual(after, [5, 3], "a rollback is news");
  },
};

export function describePolicyStore(options: PolicyStoreSuiteOptions): void {
  const tests = Object.entries(CHECKS).map(
    ([name, check]): SuiteTest => ({
      name,
      body: async () => {
        const folder = await mkdtemp(join(tmpdir(), "weir-policies-"));
        const store = await options.create(folder);
        try {
          await check(store, store.capabilities.holds[0] as ArtifactKind);
        } finally {
          await store.dispose?.();
          await rm(folder, { recursive: true, force: true });
        }
      },
    }),
  );
  registerSuite("policy store contract", tests, options);
}
