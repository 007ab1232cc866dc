import { mkdir, mkdtemp, readdir, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { processStartTime } from "../../src/store/lock.js";
import { createFolderPolicyStore } from "../../src/store/policy-folder.js";
import { openPolicyPlace, type PlaceSources, type PolicyPlaceOptions } from "../../src/store/policy-place.js";

const MIB = 1024 ** 2;
const { signal } = new AbortController();

let base: string;
let memory: string;
let free: number;
const sources: PlaceSources = { memoryFolders: async () => [memory], free: async () => free };
const options = (over: Partial<PolicyPlaceOptions> = {}): PolicyPlaceOptions => ({
  directory: null,
  maxGiB: null,
  preferMemory: true,
  runDirectory: join(base, "runs", "one"),
  versionBytes: MIB,
  ...over,
});

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "weir-place-"));
  memory = join(base, "memory");
  await mkdir(memory);
  free = 10 * MIB;
});

/** Folders of runs below the memory's root. */
async function inMemory(): Promise<string[]> {
  const [root] = await readdir(memory);
  return root === undefined ? [] : readdir(join(memory, root));
}

describe("the place of policies", () => {
  it("is in memory for sampler processes, under the run's name, and is gone once it is closed", async () => {
    const place = await openPolicyPlace(options(), sources);
    const [name, ...others] = await inMemory();
    expect(name).toMatch(/^one-[0-9a-f]{8}$/);
    expect(others).toEqual([]);
    expect(place.folder.endsWith(`/${name}`)).toBe(true);
    expect(place.budgetBytes).toBe(0.8 * 10 * MIB);
    await place.close();
    expect(await readdir(memory)).toEqual([]);
  });

  it("is the run folder without sampler processes, and where memory has no room for three versions", async () => {
    const inRun = join(base, "runs", "one", "policies");
    expect((await openPolicyPlace(options({ preferMemory: false }), sources)).folder).toBe(inRun);
    free = 3 * MIB - 1;
    expect((await openPolicyPlace(options(), sources)).folder).toBe(inRun);
    expect(await readdir(memory)).toEqual([]);
    free = 4 * MIB;
    expect((await openPolicyPlace(options(), sources)).folder.startsWith(memory)).toBe(true);
  });

  it("is where the configuration says, under the run's name, and stays there", async () => {
    const place = await openPolicyPlace(options({ directory: join(base, "mine"), maxGiB: 2 }), sources);
    expect(place.folder).toMatch(new RegExp(`^${join(base, "mine", "one")}-[0-9a-f]{8}$`));
    expect(place.budgetBytes).toBe(2 * 1024 ** 3);
    await place.close();
    expect(await readdir(join(base, "mine"))).toEqual([expect.stringMatching(/^one-[0-9a-f]{8}$/)]);
  });

  it("is cleared of what dead runs left in memory, and of nothing else", async () => {
    const living = await openPolicyPlace(options(), sources);
    const [root = ""] = await readdir(memory);
    const leave = async (name: string, holder: object | null) => {
      const folder = join(memory, root, name);
      await mkdir(folder);
      if (holder) await writeFile(join(folder, "lock"), JSON.stringify(holder));
      return folder;
    };
    const holder = { pid: process.pid, host: hostname(), startTime: processStartTime(process.pid), token: "x" };
    // No process has this id: it is beyond the largest that a system gives.
    await leave("dead", { ...holder, pid: 2 ** 30 });
    // The id was given to another process since.
    await leave("reused", { ...holder, startTime: "1" });
    await leave("elsewhere", { ...holder, host: "another-machine", pid: 2 ** 30 });
    await leave("just-made", null);
    await utimes(await leave("never-locked", null), new Date(0), new Date(0));
    const next = await openPolicyPlace(options({ runDirectory: join(base, "runs", "two") }), sources);
    const left = (await inMemory()).map((name) => name.replace(/^(one|two)-.*/, "$1")).sort();
    expect(left).toEqual(["elsewhere", "just-made", "one", "two"]);
    await next.close();
    await living.close();
    expect((await inMemory()).sort()).toEqual(["elsewhere", "just-made"]);
  });

  it("is not a folder that belongs to somebody else", async () => {
    const [name] = [`weir-policies-${process.getuid?.() ?? "user"}`];
    await writeFile(join(memory, name), "not a folder");
    const place = await openPolicyPlace(options(), sources);
    expect(place.folder).toBe(join(base, "runs", "one", "policies"));
  });
});

describe("the budget of policies", () => {
  const policy =
    (n: number, bytes: number) =>
    async (folder: string | null): Promise<PublishedPolicy> => {
      await writeFile(join(folder as string, "weights"), Buffer.alloc(bytes));
      return { version: { n, sha256: `s${n}` }, artifact: { kind: "checkpoint", uri: folder as string }, bytes };
    };
  const storeOf = async (maxGiB: number) =>
    createFolderPolicyStore(async () => openPolicyPlace(options({ maxGiB, preferMemory: false }), sources));

  it("holds a publication back until older versions are gone", async () => {
    const store = await storeOf(2.5 / 1024);
    await store.publish("checkpoint", policy(1, MIB), { signal });
    await store.assertRoom?.();
    await store.publish("checkpoint", policy(2, MIB), { signal });
    await expect(store.assertRoom?.()).rejects.toThrow(/WEIR_E_POLICY_BUDGET.*policyStore.maxGiB/);
    await expect(store.publish("checkpoint", policy(3, MIB), { signal })).rejects.toThrow("WEIR_E_POLICY_BUDGET");
    expect((await store.current({ signal }))?.version.n).toBe(2);
    await store.retain(new Set([2]));
    await store.assertRoom?.();
    await store.publish("checkpoint", policy(3, MIB), { signal });
  });

  it("keeps a version that is being published while older ones are removed", async () => {
    const store = await storeOf(1);
    await store.publish("checkpoint", policy(1, MIB), { signal });
    for (let n = 2; n < 12; n++) {
      let published = false;
      const publishing = store.publish("checkpoint", policy(n, MIB), { signal }).finally(() => {
        published = true;
      });
      while (!published) await store.retain(new Set([n - 1]));
      await publishing;
      expect(await store.fetch(n, { signal })).toContain(String(n));
    }
  });

  it("refuses the first version where it is known to be too large, and a step where the disk has filled up", async () => {
    const small = await storeOf(0.5 / 1024);
    await expect(small.publish("checkpoint", policy(1, MIB), { signal })).rejects.toThrow("WEIR_E_POLICY_BUDGET");
    const store = await storeOf(5 / 1024);
    await store.publish("checkpoint", policy(1, MIB), { signal });
    free = MIB / 2;
    await expect(store.assertRoom?.()).rejects.toThrow(/0\.000488 GiB are free/);
    free = 10 * MIB;
    await store.assertRoom?.();
  });
});
