import { nearest } from "../../config/load.js";
import type { PartOrigin, PartsFile } from "../../contracts/part-origin.js";
import { WeirError } from "../../errors.js";
import type { Timers } from "../../system/time.js";
import { assertPart, CHOSEN_KINDS, checkedPart, makePart, PART_KINDS } from "./checked-parts.js";
import { type ChosenKind, NO_QUEUE, type PartKind, type Parts } from "./part-kinds.js";

/**
 * The replaceable parts, by name and by value. Four different errors: unknown name, duplicate, missing dependency,
 * late registration.
 */

/** Gives another part that this one is built on; missing ones are WEIR_E_ACTOR_MISSING. */
export type Need = <K extends PartKind>(kind: K) => Parts[K];

/** What a factory is handed besides other parts. */
export interface PartTools {
  /**
   * Adds a value to the metric `custom/<name>`, whose value of a step is the mean of what was published during it.
   * Errors: WEIR_E_PART for a malformed name or a number that is not finite.
   */
  publish(name: string, value: number): void;
}

export type PartFactory<K extends PartKind> = (need: Need, tools: PartTools) => Parts[K];

interface Entry {
  readonly kind: PartKind;
  readonly name: string;
  readonly factory: PartFactory<PartKind>;
  readonly file: PartsFile | null;
}

/** What the registry gives to parts; the defaults keep nothing. */
export interface PartSurroundings extends PartTools {
  /** Deadline of a part's calls that may leave the process, ms; none where it is left out. */
  readonly callTimeoutMs?: number;
  /** Timers of these deadlines; Node's where they are left out. */
  readonly timers?: Timers;
  /** Hears of faults that end nothing, such as a `dispose` that threw. */
  report(error: WeirError): void;
}

const ALONE: PartSurroundings = { publish: () => undefined, report: () => undefined };

export class PartRegistry {
  private readonly entries: Entry[] = [];
  private readonly values = new Map<PartKind, Parts[PartKind]>();
  private readonly built = new Set<PartKind | Entry>();
  private builtIns = 0;
  /** Kinds that were built since `buildAsking` was called. */
  private asked = new Set<PartKind>();
  private readonly newest = new Map<PartKind, Parts[PartKind]>();
  private sealed = false;

  constructor(private readonly surroundings: PartSurroundings = ALONE) {}

  /** Everything registered so far is weir's own. */
  markBuiltIns(): this {
    this.builtIns = this.entries.length;
    return this;
  }

  /** Registers a factory under a name that the configuration can use. `file`: where it was loaded from. */
  register<K extends PartKind>(kind: K, name: string, factory: PartFactory<K>, file: PartsFile | null = null): this {
    assertKind(kind);
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
    this.entries.push({ kind, name, factory: factory as PartFactory<PartKind>, file });
    return this;
  }

  /** Uses `value` for this kind whatever name the configuration gives. */
  use<K extends ChosenKind>(kind: K, value: Parts[K]): this {
    if (this.sealed)
      throw new WeirError(
        "WEIR_E_ACTOR_LATE",
        `the ${kind} part was given after the training system had started; give it before start()`,
        { kind },
      );
    if (this.values.has(kind))
      throw new WeirError("WEIR_E_ACTOR_DUPLICATE", `two ${kind} parts were given by value; give one`, { kind });
    assertChosen(kind);
    assertPart(givenLabel(kind, value), value);
    this.values.set(kind, value);
    return this;
  }

  /** Puts `value` in the place of whatever part of this kind there was; returns what undoes it. For a run that is under way. */
  replace<K extends ChosenKind>(kind: K, value: Parts[K]): () => void {
    assertChosen(kind);
    assertPart(givenLabel(kind, value), value);
    const before = this.values.get(kind);
    this.values.set(kind, value);
    return () => {
      if (before === undefined) this.values.delete(kind);
      else this.values.set(kind, before);
    };
  }

  /** Gives up a part that was given by value, so that names count again; returns what undoes it. */
  forget(kind: ChosenKind): () => void {
    assertChosen(kind);
    const before = this.values.get(kind);
    this.values.delete(kind);
    return () => {
      if (before !== undefined) this.values.set(kind, before);
    };
  }

  /** The same as `build`, with the kinds of the parts that its factory asked for. */
  buildAsking<K extends PartKind>(
    kind: K,
    names: Partial<Record<PartKind, string>>,
  ): { readonly part: Parts[K]; readonly asked: ReadonlySet<PartKind> } {
    const before = this.asked;
    this.asked = new Set();
    try {
      const part = this.build(kind, names);
      this.asked.delete(kind);
      return { part, asked: this.asked };
    } finally {
      this.asked = before;
    }
  }

  /** Whether groups go to workers: a queue is named, or was given by value. */
  hasQueue({ workQueue }: Partial<Record<PartKind, string>>): boolean {
    return this.values.has("workQueue") || (workQueue !== undefined && workQueue !== NO_QUEUE);
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
    this.asked.add(kind);
    const given = this.values.get(kind) as Parts[K] | undefined;
    if (given) this.built.add(kind);
    const { report, callTimeoutMs, timers } = this.surroundings;
    if (given) return this.keep(kind, checkedPart(givenLabel(kind, given), given, report, callTimeoutMs, timers));
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
        `no ${kind} part is called "${name}"${close ? `; did you mean "${close}"?` : ""} (known: ${known.join(", ") || "none"}); a part of your own is registered before start(), or comes from a file given with --parts`,
        { kind, name, known },
      );
    }
    const label = { part: kind, name };
    const { publish } = this.surroundings;
    const part = makePart(label, () => entry.factory((other) => this.build(other, names), { publish }));
    assertPart(label, part);
    this.built.add(entry);
    // The embedded engine has deadlines of its own, and is waited for when it is cancelled.
    const own = this.entries.indexOf(entry) >= this.builtIns;
    return this.keep(kind, checkedPart(label, part as Parts[K], report, own ? callTimeoutMs : undefined, timers));
  }

  private keep<K extends PartKind>(kind: K, part: Parts[K]): Parts[K] {
    this.newest.set(kind, part);
    return part;
  }

  /** The part of a kind that was built last, for those that share it with whoever it was built for; null where none was. */
  latest<K extends PartKind>(kind: K): Parts[K] | null {
    return (this.newest.get(kind) as Parts[K] | undefined) ?? null;
  }

  /** Kinds of which a run has one, of which parts of the user's own are there and none was built, with the names of those parts. */
  unused(): { readonly kind: ChosenKind; readonly names: readonly string[] }[] {
    return CHOSEN_KINDS.flatMap((kind) => {
      const own = this.entries.slice(this.builtIns).filter((entry) => entry.kind === kind);
      const given = this.values.get(kind);
      const used = this.built.has(kind) || own.some((entry) => this.built.has(entry));
      const names = [...(given ? [given.kind] : []), ...own.map(({ name }) => name)];
      return used || names.length === 0 ? [] : [{ kind, names }];
    });
  }

  /** Where the part of a kind comes from, under the same names as `build`. */
  origin(kind: PartKind, name: string): PartOrigin {
    const given = this.values.get(kind);
    if (given) return { kind: given.kind, source: "own" };
    const index = this.entries.findIndex((entry) => entry.kind === kind && entry.name === name);
    const file = this.entries[index]?.file;
    return { kind: name, source: index < this.builtIns ? "built-in" : "own", ...(file ? { file } : {}) };
  }

  private find(kind: PartKind, name: string): Entry | undefined {
    return this.entries.find((entry) => entry.kind === kind && entry.name === name);
  }
}

/** A kind may come from JavaScript or from a file. Errors: WEIR_E_ACTOR_UNKNOWN naming the nearest kind. */
export function assertKind(kind: string): asserts kind is PartKind {
  if ((PART_KINDS as readonly string[]).includes(kind)) return;
  const close = nearest(kind, PART_KINDS);
  throw new WeirError(
    "WEIR_E_ACTOR_UNKNOWN",
    `there is no kind of part called "${kind}"${close ? `; did you mean "${close}"?` : ""} (kinds: ${PART_KINDS.join(", ")})`,
    { kind },
  );
}

/** Errors: those of `assertKind`; WEIR_E_USAGE for a kind of which a run does not have one part. */
export function assertChosen(kind: string): asserts kind is ChosenKind {
  assertKind(kind);
  if ((CHOSEN_KINDS as readonly PartKind[]).includes(kind)) return;
  throw new WeirError(
    "WEIR_E_USAGE",
    `a ${kind} is registered by a name, with register() or --parts, since an evaluation may have several; it is neither given by value nor replaced`,
    { kind },
  );
}

/** How a part given by value is called: by its own kind, where it has one. */
function givenLabel<K extends PartKind>(part: K, value: unknown): { readonly part: K; readonly name: string } {
  const kind = (value as { readonly kind?: unknown } | null | undefined)?.kind;
  return { part, name: typeof kind === "string" && kind !== "" ? kind : `given by value in actors.${part}` };
}
