/**
 * Published policies as folders: `v0000012/` with the weights, `policy.json` and `manifest.json`, in the place that was chosen for them.
 * Invariants: a folder named v* was published whole, in one rename, after everything in it was on the disk; its content never
 * changes; only `retain`, and a publication of the same or an older version, removes one. All versions together stay within the
 * place's budget.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { PolicyStore } from "../contracts/policy-store.js";
import type { ArtifactKind, PolicyArtifact, PublishedPolicy } from "../contracts/published-policy.js";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { LatestPolicy } from "../system/latest-policy.js";
import { listFolder, PRIVATE_FOLDER, syncPath, writeDurably } from "./durable.js";
import { differenceFrom, MANIFEST_NAME, type Manifest, readManifest, sealFolder } from "./manifest.js";
import { gib, noRoom, type PolicyPlace } from "./policy-place.js";

export const POLICY_NAME = "policy.json";
const DRAFT_PREFIX = ".draft-";
const NAME = /^v(\d+)$/;
const VERSION_DIGITS = 7;

const folderName = (version: number) => `v${String(version).padStart(VERSION_DIGITS, "0")}`;

/** `open` gives the place; it is asked at the first call that needs it. `clock`: wall clock, ms. */
export function createFolderPolicyStore(
  open: () => PolicyPlace | Promise<PolicyPlace>,
  clock: () => number = Date.now,
): PolicyStore {
  return new FolderPolicyStore(open, clock);
}

class FolderPolicyStore implements PolicyStore {
  readonly kind = "folder";
  readonly specificationVersion = 1;
  readonly capabilities = { holds: ["checkpoint", "adapter", "handle"] } as const;
  private readonly latest = new LatestPolicy();
  private opened: Promise<PolicyPlace> | null = null;
  /** Size of the largest version so far; the next one is expected to be as large. */
  private largest = 0;

  constructor(
    private readonly open: () => PolicyPlace | Promise<PolicyPlace>,
    private readonly clock: () => number,
  ) {}

  async publish(
    as: ArtifactKind,
    write: (folder: string | null) => Promise<PublishedPolicy>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<PublishedPolicy> {
    signal.throwIfAborted();
    const place = await this.place();
    const expected = this.largest || place.versionBytes;
    if (as !== "handle") await assertBudget(place, as === "checkpoint" ? expected : this.largest);
    const { folder } = place;
    const policy = await onDiskAsync(folder, async () => {
      const draft = join(folder, `${DRAFT_PREFIX}${randomUUID()}`);
      await mkdir(draft, { mode: PRIVATE_FOLDER });
      try {
        const written = await write(as === "handle" ? null : draft);
        if (written.artifact.kind !== as) throw failed(`was given a ${written.artifact.kind} in place of a ${as}`);
        const final = join(folder, folderName(written.version.n));
        const published = { ...written, artifact: moved(written.artifact, draft, final) };
        // Addresses inside are kept relative, so that a run folder may be moved.
        await seal(draft, { ...published, artifact: moved(written.artifact, draft, ".") }, this.clock());
        for (const { version, path } of await versionsIn(folder))
          if (version >= written.version.n) await rm(path, { recursive: true, force: true });
        await rename(draft, final);
        await syncPath(folder);
        this.largest = Math.max(this.largest, await bytesOf(final));
        return published;
      } catch (error) {
        await rm(draft, { recursive: true, force: true }).catch(() => undefined);
        throw error;
      }
    });
    this.latest.set(policy);
    return policy;
  }

  async current(): Promise<PublishedPolicy | null> {
    return this.latest.value;
  }

  async fetch(version: number): Promise<string> {
    const { folder } = await this.place();
    const path = join(folder, folderName(version));
    const manifest = await readManifest(path).catch(() => null);
    if (manifest === null) throw failed(`has no policy version ${version} in ${folder}`);
    const difference = await differenceFrom(manifest, path);
    if (difference !== null) throw failed(`holds a damaged policy version ${version}: ${difference}`);
    const { artifact } = JSON.parse(await readFile(join(path, POLICY_NAME), "utf8")) as PublishedPolicy;
    if (artifact.kind === "handle") throw failed(`has only a handle of policy version ${version}`);
    return moved(artifact, ".", path).uri;
  }

  watch(after: number, options: { readonly signal: AbortSignal }): AsyncIterable<PublishedPolicy> {
    return this.latest.watch(after, options);
  }

  async retain(kept: ReadonlySet<number>): Promise<void> {
    const { folder } = await this.place();
    const newest = this.latest.value?.version.n;
    await onDiskAsync(folder, async () => {
      // One above the newest is being published.
      for (const { version, path } of await versionsIn(folder))
        if (!kept.has(version) && (newest === undefined || version < newest))
          await rm(path, { recursive: true, force: true });
    });
  }

  async assertRoom(): Promise<void> {
    const place = await this.place();
    const expected = this.largest || place.versionBytes;
    await assertBudget(place, expected);
    const free = await place.free();
    if (expected > free) throw noRoom(`a version takes ${gib(expected)}, ${gib(free)} are free`, place.folder);
  }

  async dispose(): Promise<void> {
    await (await this.opened)?.close();
  }

  /** The place, once it is clear of what a killed writer left. A failure to open it is not kept. */
  private place(): Promise<PolicyPlace> {
    this.opened ??= this.openPlace().catch((error: unknown) => {
      this.opened = null;
      throw error;
    });
    return this.opened;
  }

  private async openPlace(): Promise<PolicyPlace> {
    const place = await this.open();
    const { folder } = place;
    await onDiskAsync(folder, async () => {
      await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
      for (const name of await readdir(folder))
        if (name.startsWith(DRAFT_PREFIX)) await rm(join(folder, name), { recursive: true, force: true });
    });
    return place;
  }
}

/** Errors: WEIR_E_POLICY_BUDGET where another version of `bytes` would not fit. */
async function assertBudget({ folder, budgetBytes }: PolicyPlace, bytes: number): Promise<void> {
  if (budgetBytes === Number.POSITIVE_INFINITY) return;
  let used = 0;
  for (const { path } of await versionsIn(folder)) used += await bytesOf(path);
  if (used + bytes <= budgetBytes) return;
  const what = `${gib(used)} are in use, a version takes ${gib(bytes)}, the budget is ${gib(budgetBytes)}`;
  throw noRoom(what, folder);
}

async function versionsIn(folder: string): Promise<{ readonly version: number; readonly path: string }[]> {
  return (await readdir(folder).catch(() => [] as string[])).flatMap((name) => {
    const match = NAME.exec(name);
    return match ? [{ version: Number(match[1]), path: join(folder, name) }] : [];
  });
}

/** What is gone counts for nothing: a version may be removed while it is measured. */
async function bytesOf(folder: string): Promise<number> {
  const { files } = await listFolder(folder).catch(() => ({ files: [] }));
  const found = await Promise.all(files.map((file) => stat(join(folder, file)).catch(() => null)));
  return found.reduce((sum, file) => sum + (file?.size ?? 0), 0);
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
