/**
 * The policies of a run for a worker on another machine: each is copied to a folder of the worker's and verified by hash. Invariant: a
 * folder that is not a draft holds a whole policy.
 */
import { mkdir, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { PolicySource } from "../../contracts/policy-source.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { PolicyWanted } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { PRIVATE_FOLDER } from "../../store/durable.js";
import { gib } from "../../store/policy-place.js";
import { onDiskAsync } from "../../system/disk-error.js";
import type { NatsServer } from "./nats-server.js";
import { type PolicyRecord, PolicyRecords } from "./policy-records.js";

export interface NatsPolicySourceOptions {
  readonly server: NatsServer;
  readonly run: string;
  /** Holds the copies; nobody else's. */
  readonly folder: string;
}

const DRAFT = ".draft";
const NAME = /^v(\d+)-/;
/** Left free on the disk besides the policy, bytes. */
const SPARE_BYTES = 64 * 2 ** 20;

export class NatsPolicySource implements PolicySource {
  private readonly records: PolicyRecords;
  /** Copies are made one after another: two samplers want the same policy. */
  private copying: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: NatsPolicySourceOptions) {
    this.records = new PolicyRecords(options.run);
  }

  get(wanted: PolicyWanted, { signal }: { readonly signal: AbortSignal }): Promise<PublishedPolicy> {
    const work = this.copying.then(() => this.copied(wanted, signal));
    this.copying = work.catch(() => undefined);
    return work;
  }

  async keep(versions: ReadonlySet<number>): Promise<void> {
    const { folder } = this.options;
    await onDiskAsync(folder, async () => {
      for (const name of await readdir(folder).catch(() => [])) {
        const version = NAME.exec(name)?.[1];
        if (version === undefined ? name === DRAFT : !versions.has(Number(version)))
          await rm(join(folder, name), { recursive: true, force: true });
      }
    });
  }

  async dispose(): Promise<void> {
    await this.copying;
    await this.options.server.close();
  }

  private async copied(wanted: PolicyWanted, signal: AbortSignal): Promise<PublishedPolicy> {
    const { server, folder } = this.options;
    const record = await server.call("read a policy", signal, (line) =>
      "exactly" in wanted ? this.records.version(line, wanted.exactly) : this.records.current(line),
    );
    if (record === null || ("atLeast" in wanted && record.policy.version.n < wanted.atLeast)) throw notThere(wanted);
    const { version, artifact } = record.policy;
    const final = join(folder, `v${version.n}-${version.sha256.slice(0, 12)}`);
    const there = await stat(final).catch(() => null);
    if (there === null) await this.copy(record, final, signal);
    return { ...record.policy, artifact: { ...artifact, uri: final } };
  }

  private async copy(record: PolicyRecord, final: string, signal: AbortSignal): Promise<void> {
    const { server, folder } = this.options;
    const draft = join(folder, DRAFT);
    await onDiskAsync(folder, async () => {
      await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
      await assertRoom(folder, record);
      await server.call("copy a policy", signal, async (line) => {
        await rm(draft, { recursive: true, force: true });
        await mkdir(draft, { mode: PRIVATE_FOLDER });
        await this.records.read(line, record, draft);
      });
      await rename(draft, final);
    });
  }
}

async function assertRoom(folder: string, { files }: PolicyRecord): Promise<void> {
  const needed = Object.values(files).reduce((sum, { bytes }) => sum + bytes, SPARE_BYTES);
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed) return;
  throw new WeirError(
    "WEIR_E_POLICY_BUDGET",
    `a policy of ${gib(needed)} does not fit in ${folder}, where ${gib(bavail * bsize)} are free; free room there, or give another folder`,
    { folder },
  );
}

function notThere(wanted: PolicyWanted): WeirError {
  const which = "exactly" in wanted ? `version ${wanted.exactly}` : `version ${wanted.atLeast} or a newer one`;
  return new WeirError("WEIR_E_POLICY_VERSION", `the run has no policy of ${which} at the server`);
}
