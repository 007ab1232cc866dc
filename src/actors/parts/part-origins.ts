/**
 * Owns the record of which parts a run uses: in the journal's first fact, and compared when the run is resumed. A run that
 * was started with a part of the user's own never goes on with another one in its place.
 */
import { nearest } from "../../config/load.js";
import type { Fact } from "../../contracts/fact.js";
import type { PartOrigin, PartsFile, PartsRecord } from "../../contracts/part-origin.js";
import { WeirError } from "../../errors.js";
import { CHOSEN_KINDS } from "./checked-parts.js";
import type { ChosenKind } from "./part-kinds.js";
import type { PartRegistry } from "./registry.js";

/** Kinds whose part is named in the journal, besides a judge where a part asks it. */
export const RECORDED = [
  "advantage",
  "reward",
  "curriculum",
  "loss",
  "sampler",
  "trainer",
  "policyStore",
  "workQueue",
  "filter",
  "guard",
] as const;

export function partsRecord(
  registry: PartRegistry,
  names: Readonly<Record<ChosenKind, string>>,
  files: readonly PartsFile[],
  asksJudge: boolean,
): PartsRecord {
  const kinds = [...RECORDED.filter((kind) => kind !== "workQueue"), ...(asksJudge ? (["judge"] as const) : [])];
  const origins: (readonly [ChosenKind, PartOrigin])[] = kinds.map((kind) => [
    kind,
    registry.origin(kind, names[kind]),
  ]);
  if (registry.hasQueue(names)) origins.push(["workQueue", registry.origin("workQueue", names.workQueue)]);
  return { ...(Object.fromEntries(origins) as Omit<PartsRecord, "files">), files };
}

/**
 * Compares the parts of a resumed run with those that it was started with; gives what is worth a remark.
 * Errors: WEIR_E_ACTOR_MISSING for a part of the user's own that is not there.
 */
function assertOrigins(then: Partial<PartsRecord>, now: PartsRecord): WeirError[] {
  const { trainer } = then;
  if (trainer && now.trainer && trainer.kind !== now.trainer.kind)
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "trainer.actor": the run was started with the trainer "${trainer.kind}" and cannot go on with "${now.trainer.kind}", whose state is another; start a new run from the exported model`,
      { path: "trainer.actor", expected: trainer, given: now.trainer },
    );
  for (const kind of [...RECORDED, "judge"] as const) {
    const [before, present] = [then[kind], now[kind]];
    if (before?.source !== "own" || (present?.source === "own" && present.kind === before.kind)) continue;
    throw new WeirError(
      "WEIR_E_ACTOR_MISSING",
      `the run was started with the ${kind} part "${before.kind}" of your own, and would go on with "${present?.kind}"; give the same part: ` +
        `${before.file ? `the file ${before.file.file}` : "the file that it came from"} with --parts, or in a program actors or register()`,
      { kind, expected: before, given: present },
    );
  }
  return now.files.flatMap(({ file, sha256 }) => {
    const earlier = then.files?.find((known) => known.file === file);
    if (earlier === undefined || earlier.sha256 === sha256) return [];
    return [
      new WeirError(
        "WEIR_E_PARTS_FILE",
        `${file} has changed since the run was started; the run goes on with the parts that it holds now`,
        { file, expected: earlier.sha256, given: sha256 },
      ),
    ];
  });
}

/**
 * The same for the journal of the run, in which parts may have been replaced. Journals of earlier builds name fewer kinds.
 * Errors: as `assertOrigins`.
 */
export function compareOrigins(facts: Iterable<Fact>, now: PartsRecord): WeirError[] {
  const then = recordedOrigins(facts);
  return then === null ? [] : assertOrigins(then, now);
}

/** The parts that a run uses by its journal; null where it names none. */
export function recordedOrigins(facts: Iterable<Fact>): Partial<PartsRecord> | null {
  let then: Partial<PartsRecord> | null = null;
  for (const fact of facts) {
    if (fact.type === "run.started") then = fact.data.parts;
    if (fact.type === "part.replaced" && then !== null) then = { ...then, [fact.data.kind]: fact.data.to };
  }
  return then;
}

/** Options that choose a part by name. */
export const PART_OPTIONS: Readonly<Record<ChosenKind, string>> = {
  advantage: "advantage.actor",
  reward: "reward.actor",
  curriculum: "curriculum.actor",
  judge: "reward.judge.actor",
  loss: "loss.algorithm",
  sampler: "sampler.actor",
  trainer: "trainer.actor",
  policyStore: "policyStore.actor",
  workQueue: "workQueue.actor",
  filter: "dynamicSampling.filter",
  guard: "guard.actor",
};

/** What is worth a remark of parts that the user brought and the configuration does not use: it may have been forgotten. */
export function unusedParts(registry: PartRegistry, names: Readonly<Record<ChosenKind, string>>): WeirError[] {
  return registry.unused().map(({ kind, names: own }) => {
    const listed = own.map((name) => `"${name}"`).join(", ");
    const why =
      kind === "judge"
        ? `the reward "${registry.origin("reward", names.reward).kind}" asks no judge of that name; set reward.actor and ${PART_OPTIONS.judge}`
        : `the configuration names "${names[kind]}"; set ${PART_OPTIONS[kind]}`;
    return new WeirError(
      "WEIR_E_ACTOR_MISSING",
      `a part of your own (${kind} ${listed}) is there and not in use: ${why} to use one`,
      {
        kind,
        names: own,
      },
    );
  });
}

/** Errors: WEIR_E_ACTOR_UNKNOWN for a name in `actors` that stands for no part. */
export function assertPartNames(actors: Readonly<Record<string, unknown>> | object): void {
  const known = [...CHOSEN_KINDS, "engine"];
  for (const name of Object.keys(actors)) {
    if (known.includes(name)) continue;
    const close = nearest(name, known);
    throw new WeirError(
      "WEIR_E_ACTOR_UNKNOWN",
      `actors.${name}: there is no such part${close ? `; did you mean "${close}"?` : ""} (parts: ${known.join(", ")})`,
      { name },
    );
  }
}
