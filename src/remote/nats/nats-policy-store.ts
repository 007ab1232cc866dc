/**
 * The policy store over NATS: a version lies in a local folder of the run, as in the store of folders, and at the server, where workers
 * on other machines get it. Invariants: a version is at the server as a whole or not at all; all versions there stay within the room
 * that was given.
 */
import type { PolicyStore } from "../../contracts/policy-store.js";
import type { ArtifactKind, PublishedPolicy } from "../../contracts/published-policy.js";
import { WeirError } from "../../errors.js";
import { MANIFEST_NAME } from "../../store/manifest.js";
import { POLICY_NAME } from "../../store/policy-folder.js";
import { gib } from "../../store/policy-place.js";
import type { NatsLine, NatsServer } from "./nats-server.js";
import { isNoRoom, PolicyRecords } from "./policy-records.js";

export interface NatsPolicyStoreOptions {
  readonly server: NatsServer;
  /** Names the run; asked at the first call that needs it. */
  readonly run: () => string;
  /** Keeps the versions on this machine. */
  readonly local: PolicyStore;
  /** Room at the server, bytes; null takes 80 % of what the server allows, where it says so. */
  readonly maxBytes: number | null;
}

/** Part of the allowed room that is used where no number is given. */
const ALLOWED_FRACTION = 0.8;
/** For taking everything off the server at the end, ms: a server that is away keeps nobody. */
const REMOVE_MS = 5_000;
/** What the store of folders adds to a version's own files. */
const ADDED = new Set([MANIFEST_NAME, POLICY_NAME]);

export class NatsPolicyStore implements PolicyStore {
  readonly kind = "nats";
  readonly specificationVersion = 1;
  readonly capabilities = { holds: ["checkpoint", "adapter"] } as const;
  private readonly server: NatsServer;
  private readonly local: PolicyStore;
  private made: Promise<number> | null = null;
  /** Size of the largest version so far; the next one is expected to be as large. */
  private largest = 0;

  constructor(private readonly options: NatsPolicyStoreOptions) {
    this.server = options.server;
    this.local = options.local;
  }

  async connect({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.server.connect(signal);
  }

  async publish(
    as: ArtifactKind,
    write: (folder: string | null) => Promise<PublishedPolicy>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<PublishedPolicy> {
    if (as === "handle")
      throw new WeirError(
        "WEIR_E_POLICY_STORE",
        'the policy store "nats" holds no handles: nobody else could read one',
      );
    const policy = await this.local.publish(as, write, { signal });
    const { n } = policy.version;
    await this.call("publish a policy", signal, async (line, records, budget) => {
      try {
        await records.write(line, policy, ADDED);
      } catch (error) {
        await records.removeStray(line);
        if (isNoRoom(error)) throw noRoom(`${gib(budget)} are allowed`, this.server.url);
        throw error;
      }
      const others = (await records.versions(line)).filter((other) => other > n);
      for (const other of others) await records.remove(line, other);
      await records.removeStray(line);
      this.largest = Math.max(this.largest, policy.bytes);
    });
    return policy;
  }

  async current({ signal }: { readonly signal: AbortSignal }): Promise<PublishedPolicy | null> {
    const record = await this.call("read the policy", signal, (line, records) => records.current(line));
    const local = await this.local.current({ signal });
    if (record === null) return null;
    const { version } = record.policy;
    // Of what another process published, this one has no folder.
    return local?.version.n === version.n && local.version.sha256 === version.sha256 ? local : null;
  }

  async fetch(version: number, { signal }: { readonly signal: AbortSignal }): Promise<string> {
    return this.local.fetch(version, { signal });
  }

  async *watch(after: number, { signal }: { readonly signal: AbortSignal }): AsyncGenerator<PublishedPolicy> {
    yield* this.local.watch(after, { signal });
  }

  async assertRoom(): Promise<void> {
    await this.local.assertRoom?.();
    const { signal } = new AbortController();
    await this.call("measure the policies", signal, async (line, records, budget) => {
      const used = await records.used(line);
      if (used + this.largest > budget)
        throw noRoom(
          `${gib(used)} are in use, a version takes ${gib(this.largest)}, ${gib(budget)} are allowed`,
          this.server.url,
        );
    });
  }

  async retain(kept: ReadonlySet<number>): Promise<void> {
    await this.local.retain(kept);
    const { signal } = new AbortController();
    await this.call("remove policies", signal, async (line, records) => {
      const newest = (await records.current(line))?.policy.version.n;
      for (const n of await records.versions(line)) if (!kept.has(n) && n !== newest) await records.remove(line, n);
    });
  }

  /** Also removes everything of the run from the server. */
  async dispose(): Promise<void> {
    if (this.made !== null) {
      const records = new PolicyRecords(this.options.run());
      const late = AbortSignal.timeout(REMOVE_MS);
      await this.server
        .call("remove the policies of a run", late, (line) => records.removeAll(line))
        .catch(() => undefined);
    }
    await this.server.close();
    await this.local.dispose?.();
  }

  private call<T>(
    what: string,
    signal: AbortSignal,
    work: (line: NatsLine, records: PolicyRecords, budget: number) => Promise<T>,
  ): Promise<T> {
    const records = new PolicyRecords(this.options.run());
    return this.server.call(what, signal, async (line) => {
      this.made ??= this.make(line, records).catch((error: unknown) => {
        this.made = null;
        throw error;
      });
      return work(line, records, await this.made);
    });
  }

  /** Makes what the policies lie in; gives the room that there is. */
  private async make(line: NatsLine, records: PolicyRecords): Promise<number> {
    const { limits } = await line.manager.getAccountInfo();
    const allowed = limits.max_storage > 0 ? ALLOWED_FRACTION * limits.max_storage : null;
    const room = this.options.maxBytes ?? allowed;
    await records.make(line, room);
    return room ?? Number.POSITIVE_INFINITY;
  }
}

function noRoom(what: string, url: string): WeirError {
  return new WeirError(
    "WEIR_E_POLICY_BUDGET",
    `the next policy does not fit at the NATS server ${url}: ${what}; raise policyStore.maxGiB or the server's limit, and go on`,
    { url },
  );
}
