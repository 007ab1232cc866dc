/**
 * Replaces a part of a run that is under way, between two pieces of work. The new part is tried first: where it does not fit, the run
 * goes on with the old one. Each replacement is a fact of the journal and an order of the run folder: a resumed run begins with the part
 * that it was given by name, and asks for one that it was given by value.
 */
import type { Config } from "../../config/schema.js";
import type { Initiator } from "../../contracts/knob.js";
import type { PartOrigin } from "../../contracts/part-origin.js";
import { WeirError } from "../../errors.js";
import type { RunRecord } from "../../store/run-record.js";
import type { InFlight } from "../../streams/in-flight.js";
import type { ChosenKind, Parts, RunParts } from "../parts/part-kinds.js";
import { PART_OPTIONS } from "../parts/part-origins.js";
import { assertChosen, type PartRegistry } from "../parts/registry.js";
import { trackedReward } from "../reward/tracked-reward.js";
import { assertCanTrain } from "./can-train.js";
import { assertCapabilities } from "./capabilities.js";
import { recordOrder } from "./orders.js";
import type { RunContext } from "./run-context.js";
import { curriculumSetup } from "./run-work.js";

/** Kinds that hold the run's weights: another one could not go on from them. */
const LASTING: readonly ChosenKind[] = ["trainer", "policyStore"];

/** A part by value, or the name of a registered one. */
type Chosen<K extends ChosenKind> = { readonly value: Parts[K] } | { readonly name: string };

interface Wish {
  readonly kind: ChosenKind;
  readonly chosen: Chosen<ChosenKind>;
  readonly by: Initiator;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class PartReplacements {
  /** Whether the reward in use asks a judge. */
  asksJudge = false;
  /** Parts that were chosen by name since the run began, in place of those that the configuration names. */
  readonly named: Partial<Record<ChosenKind, string>> = {};
  private wishes: Wish[] = [];
  /** What is being carried out. */
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly registry: PartRegistry,
    /** By kind, what was chosen since included. */
    private readonly names: () => Readonly<Record<ChosenKind, string>>,
    private readonly inFlight: InFlight,
  ) {}

  /**
   * Resolves once the part is in use. Errors: WEIR_E_REPLACE, WEIR_E_PART, WEIR_E_CAPABILITY; WEIR_E_ACTOR_UNKNOWN for a name that
   * nobody registered; WEIR_E_STATE where the run ends before.
   */
  request<K extends ChosenKind>(kind: K, part: Parts[K] | string, by: Initiator): Promise<void> {
    const chosen = typeof part === "string" ? { name: part } : { value: part };
    return new Promise((resolve, reject) => {
      this.wishes.push({ kind, chosen, by, resolve, reject });
    });
  }

  /**
   * Carries out what has been asked for, one wish after another; resolves once none is being carried out. Never rejects: each wish
   * has its own answer.
   */
  apply(context: RunContext, signal: AbortSignal): Promise<void> {
    this.work = this.work.then(async () => {
      if (this.wishes.length === 0) return;
      // With overlap rollouts are in flight between two pieces of work: they end under the parts that they began with.
      await context.pipeline.quietly(() => this.carryOut(context, signal), signal).catch(() => undefined);
    });
    return this.work;
  }

  private async carryOut(context: RunContext, signal: AbortSignal): Promise<void> {
    for (const wish of this.wishes.splice(0)) {
      try {
        await this.replace(context, wish, signal);
        wish.resolve();
      } catch (error) {
        context.log.warn({ actor: "parts", kind: wish.kind, err: error }, "a part was not replaced");
        wish.reject(error);
      }
    }
  }

  /**
   * Has a resumed run begin with the parts that it was given by name before it ended; gives what is worth a remark. An option that is
   * changed with the resume wins.
   */
  adopt(
    { orders, changes, config: before }: Pick<RunRecord, "orders" | "changes" | "config">,
    now: Config,
  ): WeirError[] {
    const last = new Map(
      orders.flatMap(({ order, changes: since }) => {
        return order.type === "replace" ? [[order.kind, { name: order.name, since }] as const] : [];
      }),
    );
    const remarks: WeirError[] = [];
    for (const [kind, { name, since }] of last) {
      assertChosen(kind);
      const option = PART_OPTIONS[kind];
      const changed =
        optionOf(before, option) !== optionOf(now, option) || changes.slice(since).some(({ path }) => path === option);
      if (name === null || changed) continue;
      if (this.registry.names(kind).includes(name)) this.choose(kind, { name });
      else
        remarks.push(
          new WeirError(
            "WEIR_E_ACTOR_UNKNOWN",
            `the run had the ${kind} part "${name}" in place of the configured one, and no part of that name is registered now; it goes on with the configured part: register "${name}" and resume again, or set ${option}`,
            { kind, name },
          ),
        );
    }
    return remarks;
  }

  /** The run is over: what is still asked for is refused. */
  end(): void {
    for (const { kind, reject } of this.wishes.splice(0))
      reject(new WeirError("WEIR_E_STATE", `the run ended before the ${kind} part could be replaced`, { kind }));
  }

  private async replace(context: RunContext, { kind, chosen, by }: Wish, signal: AbortSignal): Promise<void> {
    if (LASTING.includes(kind))
      throw refused(kind, "it holds the run's weights; stop the run and start another from its model folder");
    if (kind === "workQueue")
      throw refused(kind, "it holds the run's groups; stop the run and resume it with another workQueue.actor");
    const from = this.registry.origin(kind, this.names()[kind]);
    const undo = this.choose(kind, chosen);
    const names = this.names();
    try {
      const slot: keyof RunParts = kind === "judge" ? "reward" : (kind as keyof RunParts);
      const before = context.parts[slot] as NonNullable<RunParts[keyof RunParts]>;
      const { part: built, asked } = this.registry.buildAsking(slot, names);
      if (kind === "judge" && !asked.has("judge"))
        throw refused(kind, `the reward "${before.kind}" asks no judge; replace the reward`);
      const part = slot === "reward" ? trackedReward(built as Parts["reward"], this.inFlight) : built;
      const changes = { ...this.storeFor(context, slot, names), [slot]: part } as Partial<RunParts>;
      await this.fit(context, slot, { ...context.parts, ...changes }, signal);
      const name = "name" in chosen ? chosen.name : null;
      await recordOrder(context, { order: { type: "replace", kind, name }, by, reason: null });
      this.tell(context, kind, from, this.registry.origin(kind, names[kind]));
      context.parts = { ...context.parts, ...changes };
      if (slot === "reward") this.asksJudge = asked.has("judge");
      await (before as { dispose?: () => Promise<void> | void }).dispose?.();
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** Has the registry build another part of this kind; returns what undoes it. */
  private choose<K extends ChosenKind>(kind: K, chosen: Chosen<K>): () => void {
    if ("value" in chosen) return this.registry.replace(kind, chosen.value);
    const { [kind]: before } = this.named;
    const restore = this.registry.forget(kind);
    this.named[kind] = chosen.name;
    return () => {
      restore();
      if (before === undefined) delete this.named[kind];
      else this.named[kind] = before;
    };
  }

  /** With `policyStore.actor: auto` a sampler that does not share the trainer's weights brings the store in folders with it. */
  private storeFor(
    { config, parts }: RunContext,
    slot: keyof RunParts,
    names: Readonly<Record<ChosenKind, string>>,
  ): Partial<Pick<RunParts, "policyStore">> {
    if (slot !== "sampler" || config.policyStore.actor !== "auto" || parts.policyStore.kind === "folder") return {};
    return { policyStore: this.registry.build("policyStore", { ...names, policyStore: "folder" }) };
  }

  /** Tries the new part and hands it the old one's state. Errors: as `request`. */
  private async fit(context: RunContext, slot: keyof RunParts, parts: RunParts, signal: AbortSignal): Promise<void> {
    const { config } = context;
    await (parts[slot] as { connect?(options: { readonly signal: AbortSignal }): Promise<void> }).connect?.({ signal });
    assertCapabilities(config, parts);
    try {
      assertCanTrain({ ...config, optimiser: context.configured.optimiser }, parts.advantage);
      if (slot === "curriculum") {
        parts.curriculum.setup(curriculumSetup(context));
        parts.curriculum.restore(context.parts.curriculum.snapshot());
      }
      const state = slot === "guard" ? context.parts.guard.snapshot?.() : undefined;
      if (state !== undefined) parts.guard.restore?.(state);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw refused(slot, `the new one does not fit: ${why}`, error);
    }
    if (slot === "sampler") await context.policies.handOver(parts, signal);
  }

  private tell({ taps, log, progress }: RunContext, kind: ChosenKind, from: PartOrigin, to: PartOrigin): void {
    taps.fact("part.replaced", progress.step, { kind, from, to });
    log.info({ actor: "parts", kind, from: from.kind, to: to.kind }, "a part was replaced");
  }
}

function optionOf(config: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((tree, key) => (tree as Readonly<Record<string, unknown>> | null | undefined)?.[key], config);
}

function refused(kind: ChosenKind, why: string, cause?: unknown): WeirError {
  return new WeirError(
    "WEIR_E_REPLACE",
    `the ${kind} part cannot be replaced now: ${why}`,
    { kind },
    cause === undefined ? undefined : { cause },
  );
}
