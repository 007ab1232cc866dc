import { nearest } from "../config/load.js";
import type { AdvantageActor } from "../contracts/advantage.js";
import type { CurriculumActor } from "../contracts/curriculum.js";
import type { Judge } from "../contracts/judge.js";
import type { RewardActor } from "../contracts/reward.js";
import { WeirError } from "../errors.js";

/**
 * The replaceable parts, by name and by value. Four different errors: unknown name, duplicate, missing dependency,
 * late registration.
 */

/** What a part is built from. */
export interface Parts {
  readonly advantage: AdvantageActor;
  readonly reward: RewardActor;
  readonly curriculum: CurriculumActor;
  readonly judge: Judge;
}

export type PartKind = keyof Parts;

/** Gives another part that this one is built on; missing ones are WEIR_E_ACTOR_MISSING. */
export type Need = <K extends PartKind>(kind: K) => Parts[K];

export type PartFactory<K extends PartKind> = (need: Need) => Parts[K];

interface Entry {
  readonly kind: PartKind;
  readonly name: string;
  readonly factory: PartFactory<PartKind>;
}

export class PartRegistry {
  private readonly entries: Entry[] = [];
  private readonly values = new Map<PartKind, Parts[PartKind]>();
  private sealed = false;

  /** Registers a factory under a name that the configuration can use. */
  register<K extends PartKind>(kind: K, name: string, factory: PartFactory<K>): this {
    if (this.sealed) {
      throw new WeirError(
        "WEIR_E_ACTOR_LATE",
        `the ${kind} part "${name}" was registered after the training system had started; register it before start()`,
        { kind, name },
      );
    }
    if (this.find(kind, name)) {
      throw new WeirError(
        "WEIR_E_ACTOR_DUPLICATE",
        `a ${kind} part "${name}" is registered already; choose another name`,
        { kind, name },
      );
    }
    this.entries.push({ kind, name, factory: factory as PartFactory<PartKind> });
    return this;
  }

  /** Uses `value` for this kind whatever name the configuration gives. */
  use<K extends PartKind>(kind: K, value: Parts[K]): this {
    if (this.sealed)
      throw new WeirError(
        "WEIR_E_ACTOR_LATE",
        `the ${kind} part was given after the training system had started; give it before start()`,
        { kind },
      );
    if (this.values.has(kind))
      throw new WeirError("WEIR_E_ACTOR_DUPLICATE", `two ${kind} parts were given by value; give one`, { kind });
    assertPart(kind, value);
    this.values.set(kind, value);
    return this;
  }

  /** No registrations from here on. */
  seal(): void {
    this.sealed = true;
  }

  names(kind: PartKind): string[] {
    return this.entries.filter((entry) => entry.kind === kind).map((entry) => entry.name);
  }

  /**
   * Builds the part of a kind: the one given by value, else the one registered under `name`.
   * Errors: WEIR_E_ACTOR_UNKNOWN for a name nobody registered, WEIR_E_ACTOR_MISSING for a dependency without a name.
   */
  build<K extends PartKind>(kind: K, names: Partial<Record<PartKind, string>>): Parts[K] {
    const given = this.values.get(kind);
    if (given) return given as Parts[K];
    const name = names[kind];
    if (name === undefined) {
      throw new WeirError(
        "WEIR_E_ACTOR_MISSING",
        `a ${kind} part is needed and none was given; pass it in actors.${kind} or configure it`,
        { kind },
      );
    }
    const entry = this.find(kind, name);
    if (!entry) {
      const known = this.names(kind);
      const close = nearest(name, known);
      throw new WeirError(
        "WEIR_E_ACTOR_UNKNOWN",
        `no ${kind} part is called "${name}"${close ? `; did you mean "${close}"?` : ""} (known: ${known.join(", ") || "none"})`,
        { kind, name, known },
      );
    }
    const part = entry.factory((other) => this.build(other, names));
    assertPart(kind, part);
    return part as Parts[K];
  }

  private find(kind: PartKind, name: string): Entry | undefined {
    return this.entries.find((entry) => entry.kind === kind && entry.name === name);
  }
}

const METHODS: Record<PartKind, readonly string[]> = {
  advantage: ["handle"],
  reward: ["handle"],
  curriculum: ["setup", "next", "observe", "decide", "snapshot", "restore"],
  judge: ["ask"],
};

/** A part given by hand may come from JavaScript: check its shape before it is used. */
function assertPart(kind: PartKind, part: unknown): void {
  const record = part as Record<string, unknown> | null;
  const missing = METHODS[kind].filter((method) => typeof record?.[method] !== "function");
  const version = record?.specificationVersion;
  if (missing.length > 0 || version !== 1) {
    const reason =
      missing.length > 0
        ? `lacks ${missing.map((method) => `${method}()`).join(", ")}`
        : `has specificationVersion ${String(version)}, 1 is needed`;
    throw new WeirError("WEIR_E_CONFIG", `the ${kind} part given ${reason}`, { kind, missing });
  }
}
