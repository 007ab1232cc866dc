// A policy store in a folder that trainer and samplers share, such as a mounted disk: shared/v12 holds version 12.
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type PartDefinitions, type PolicyStore, type PublishedPolicy, WeirError } from "weir-rl";

const POLL_MS = 50;

export function createSharedStore(root: string): PolicyStore {
  const place = (version: number) => join(root, `v${version}`);
  const versions = async (): Promise<number[]> => {
    const names = await readdir(root).catch(() => []);
    return names.flatMap((name) => (/^v\d+$/.test(name) ? [Number(name.slice(1))] : [])).sort((a, b) => b - a);
  };
  const read = async (version: number): Promise<PublishedPolicy> => {
    const text = await readFile(join(place(version), "policy.json"), "utf8").catch(() => {
      throw new WeirError("WEIR_E_POLICY_STORE", `${root} has no policy version ${version}`);
    });
    return JSON.parse(text) as PublishedPolicy;
  };
  const newest = async () => {
    const [version] = await versions();
    return version === undefined ? null : await read(version);
  };
  return {
    kind: "shared",
    specificationVersion: 1,
    capabilities: { holds: ["checkpoint"] },
    async publish(_as, write, { signal }) {
      signal.throwIfAborted();
      await mkdir(root, { recursive: true });
      const draft = await mkdtemp(join(root, "draft-"));
      try {
        const { version, artifact, bytes } = await write(draft);
        const published = { version, artifact: { ...artifact, uri: place(version.n) }, bytes };
        await writeFile(join(draft, "policy.json"), JSON.stringify(published));
        for (const known of await versions()) if (known >= version.n) await rm(place(known), { recursive: true });
        // One rename: a version is there as a whole or not at all.
        await rename(draft, place(version.n));
        return published;
      } catch (error) {
        await rm(draft, { recursive: true, force: true });
        throw error;
      }
    },
    current: newest,
    fetch: async (version) => (await read(version)).artifact.uri,
    async *watch(after, { signal }) {
      let last: string | null = null;
      while (!signal.aborted) {
        const policy = await newest();
        const version = policy?.version;
        // After a rollback an older number comes again, with other weights.
        const isNews = last === null ? (version?.n ?? after) > after : version?.sha256 !== last;
        if (policy !== null && isNews) {
          last = policy.version.sha256;
          yield policy;
        } else await setTimeout(POLL_MS, null, { signal }).catch(() => undefined);
      }
    },
    async retain(kept) {
      const [latest, ...older] = await versions();
      for (const version of older)
        if (version !== latest && !kept.has(version)) await rm(place(version), { recursive: true });
    },
  };
}

export const parts: PartDefinitions = { policyStore: { shared: () => createSharedStore("shared") } };
