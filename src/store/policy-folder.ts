/**
 * Published policies as folders: `policies/v0000012/` with the weights, `policy.json` and `manifest.json`.
 * Invariants: a folder named v* was published whole, in one rename, after everything in it was on the disk; its content never
 * changes; only `retain`, and a publication of the same or an older version, removes one.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { PolicyStore } from "../contracts/policy-store.js";
import type { PolicyArtifact, PublishedPolicy } from "../contracts/published-policy.js";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { LatestPolicy } from "../system/latest-policy.js";
import { PRIVATE_FOLDER, syncPath, writeDurably } from "./durable.js";
import { differenceFrom, MANIFEST_NAME, type Manifest, readManifest, sealFolder } from "./manifest.js";

export const POLICIES_FOLDER = "policies";
const POLICY_NAME = "policy.json";
const DRAFT_PREFIX = ".draft-";
const NAME = /^v(\d+)$/;
const VERSION_DIGITS = 7;

const folderName = (version: number) => `v${String(version).padStart(VERSION_DIGITS, "0")}`;

/** `place` gives the folder of the run; it is asked for at the first publication. */
export function createFolderPolicyStore(place: () => string, clock: () => number = Date.now): PolicyStore {
  const latest = new LatestPolicy();
  const folder = () => join(place(), POLICIES_FOLDER);
  let cleaned = false;
  /** Removes what a killed writer left, once. */
  const clean = async () => {
    if (cleaned) return;
    for (const name of await readdir(folder()))
      if (name.startsWith(DRAFT_PREFIX)) await rm(join(folder(), name), { recursive: true, force: true });
    cleaned = true;
  };
  const versions = async () =>
    (await readdir(folder()).catch(() => [] as string[])).flatMap((name) => {
      const match = NAME.exec(name);
      return match ? [{ version: Number(match[1]), path: join(folder(), name) }] : [];
    });
  return {
    kind: "folder",
    specificationVersion: 1,
    capabilities: { holds: ["checkpoint", "adapter", "handle"] },
    async publish(as, write, { signal }) {
      signal.throwIfAborted();
      const policy = await onDiskAsync(folder(), async () => {
        await mkdir(folder(), { recursive: true, mode: PRIVATE_FOLDER });
        await clean();
        const draft = join(folder(), `${DRAFT_PREFIX}${randomUUID()}`);
        await mkdir(draft, { mode: PRIVATE_FOLDER });
        try {
          const written = await write(as === "handle" ? null : draft);
          if (written.artifact.kind !== as) throw failed(`was given a ${written.artifact.kind} in place of a ${as}`);
          const final = join(folder(), folderName(written.version.n));
          const published = { ...written, artifact: moved(written.artifact, draft, final) };
          // Addresses inside are kept relative, so that a run folder may be moved.
          await seal(draft, { ...published, artifact: moved(written.artifact, draft, ".") }, clock());
          for (const { version, path } of await versions())
            if (version >= written.version.n) await rm(path, { recursive: true, force: true });
          await rename(draft, final);
          await syncPath(folder());
          return published;
        } catch (error) {
          await rm(draft, { recursive: true, force: true }).catch(() => undefined);
          throw error;
        }
      });
      latest.set(policy);
      return policy;
    },
    current: async () => latest.value,
    async fetch(version) {
      const path = join(folder(), folderName(version));
      const manifest = await readManifest(path).catch(() => null);
      if (manifest === null) throw failed(`has no policy version ${version} in ${folder()}`);
      const difference = await differenceFrom(manifest, path);
      if (difference !== null) throw failed(`holds a damaged policy version ${version}: ${difference}`);
      const { artifact } = JSON.parse(await readFile(join(path, POLICY_NAME), "utf8")) as PublishedPolicy;
      if (artifact.kind === "handle") throw failed(`has only a handle of policy version ${version}`);
      return moved(artifact, ".", path).uri;
    },
    watch: (after, options) => latest.watch(after, options),
    async retain(kept) {
      const newest = latest.value?.version.n;
      await onDiskAsync(folder(), async () => {
        for (const { version, path } of await versions())
          if (!kept.has(version) && version !== newest) await rm(path, { recursive: true, force: true });
      });
    },
  };
}

async function seal(draft: string, policy: PublishedPolicy, time: number): Promise<void> {
  await writeDurably(join(draft, POLICY_NAME), `${JSON.stringify(policy, null, 2)}\n`);
  const files = await sealFolder(draft);
  const manifest: Manifest = { schema_version: 1, step: policy.version.n, time, tags: ["policy"], files };
  await writeDurably(join(draft, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** The artifact under its final address. */
function moved(artifact: PolicyArtifact, from: string, to: string): PolicyArtifact {
  return artifact.kind === "handle" ? artifact : { ...artifact, uri: to + artifact.uri.slice(from.length) };
}

function failed(what: string): WeirError {
  return new WeirError("WEIR_E_POLICY_STORE", `the policy store "folder" ${what}`);
}
