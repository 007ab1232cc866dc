/**
 * What a person or a program asks of a run that is under way: to turn knobs, to skip a batch or the rest of a phase, to go back.
 * Invariant: an order is in the run folder, with its place, before it takes effect, so that a run that was killed does the same at the
 * same place again.
 */
import type { CurriculumDecision } from "../../contracts/curriculum.js";
import type { Guard } from "../../contracts/guard.js";
import type { Initiator, OrderWish, RunOrder } from "../../contracts/knob.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { judgesBefore } from "./capabilities.js";
import { assertTurn, DRAWN_WITH, turnKnob } from "./knobs.js";
import type { Progress } from "./progress.js";
import type { RollbackWish } from "./rollback-wish.js";
import type { Orders, RunContext } from "./run-context.js";

interface Waiting extends OrderWish {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface OrdersSnapshot {
  /** Orders that the run folder knew. */
  readonly known: number;
  /** Indices of those that had not been carried out again by then. */
  readonly pending: readonly number[];
}

/** Pieces of work that count as places of the run: preflight, warm-up steps, RL steps, evaluations. */
export function placeOf({ preflightDone, warmupStep, step, heldout }: Progress): number {
  return Number(preflightDone) + warmupStep + step + Object.keys(heldout).length;
}

/** Writes an order to the run folder with the present place. Errors: WEIR_E_DISK. */
export async function recordOrder({ store, progress }: RunContext, wish: OrderWish): Promise<void> {
  await store.recordOrder({ ...wish, at: placeOf(progress), rollbacks: progress.rollbacks.count });
}

/** `context` is read when an order is carried out: it holds the orders itself. */
export class RunOrders implements Orders {
  private waiting: Waiting[] = [];
  /** Orders of the run folder, by index, that are to be carried out again at their places. */
  private again: number[] = [];
  private rollback: RollbackWish | null = null;
  /** What is being carried out. */
  private work: Promise<void> = Promise.resolve();

  constructor(private readonly context: () => RunContext) {}

  /** Resolves once the order has taken effect. Errors: as `turnKnob`; WEIR_E_STATE where the run ends before; WEIR_E_DISK. */
  request(wish: OrderWish): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ ...wish, resolve, reject });
    });
  }

  apply(signal: AbortSignal): Promise<void> {
    this.work = this.work.then(async () => {
      await this.repeat(this.due(), signal);
      await this.carryOut(this.waiting.splice(0), signal);
    });
    return this.work;
  }

  async endPhase(signal: AbortSignal): Promise<void> {
    const due = this.waiting.filter(({ order }) => order.type === "skipPhase");
    this.waiting = this.waiting.filter((one) => !due.includes(one));
    await this.carryOut(due, signal);
  }

  async catchUp(signal: AbortSignal): Promise<void> {
    const orders = this.context().store.orders();
    const due = this.due();
    const at = due.findIndex((index) => orders[index]?.order.type === "rollback");
    const found = orders[due[at] ?? -1];
    if (found?.order.type !== "rollback") return;
    // A paused run was told these first.
    await this.repeat(due.slice(0, at), signal);
    this.again = this.again.filter((index) => index !== due[at]);
    this.rollback = { to: found.order.to, by: found.by, reason: found.reason ?? "", error: null, recorded: true };
  }

  takeRollback(): RollbackWish | null {
    const { rollback } = this;
    this.rollback = null;
    return rollback;
  }

  end(): void {
    for (const { order, reject } of this.waiting.splice(0))
      reject(new WeirError("WEIR_E_STATE", `the run ended before "${order.type}" could take effect`, { order }));
  }

  snapshot(): Json {
    const snapshot: OrdersSnapshot = { known: this.context().store.orders().length, pending: this.again };
    return snapshot as unknown as Json;
  }

  restore(snapshot: Json | null): void {
    const orders = this.context().store.orders();
    const { known, pending } = (snapshot ?? { known: 0, pending: [] }) as unknown as OrdersSnapshot;
    const later = orders.map((_, index) => index).slice(known);
    // Parts that were replaced by name are in use from the start of a resumed run.
    const stands = (index: number) => !orders[index]?.overridden && orders[index]?.order.type !== "replace";
    this.rollback = null;
    this.again = [...pending, ...later].filter(stands);
  }

  /** Orders to be carried out again whose place is here, or was passed. */
  private due(): readonly number[] {
    const { store, progress } = this.context();
    const orders = store.orders();
    const place = placeOf(progress);
    const { count } = progress.rollbacks;
    return this.again.filter((index) => {
      const { rollbacks, at } = orders[index] as RunOrder;
      return rollbacks < count || (rollbacks === count && at <= place);
    });
  }

  private async repeat(due: readonly number[], signal: AbortSignal): Promise<void> {
    const context = this.context();
    const orders = context.store.orders();
    this.again = this.again.filter((index) => !due.includes(index));
    for (const index of due) {
      await obey(context, orders[index] as RunOrder, signal).catch((error) => {
        context.log.warn({ actor: "knobs", err: error }, "an order of the run folder could not be carried out again");
      });
    }
  }

  private async carryOut(wishes: readonly Waiting[], signal: AbortSignal): Promise<void> {
    const context = this.context();
    const one = async (wish: OrderWish) => {
      assertOrder(context, wish.order);
      await recordOrder(context, wish);
      await obey(context, wish, signal);
    };
    for (const { resolve, reject, ...wish } of wishes) await one(wish).then(resolve, reject);
  }
}

/**
 * Errors: as `turnKnob`; WEIR_E_CAPABILITY for a trainer that cannot throw a gradient away; WEIR_E_STATE for the last phase's end.
 */
export function assertOrder(context: RunContext, order: RunOrder["order"]): void {
  const { trainer } = context.parts;
  if (order.type === "set") assertTurn(context, order.path, order.value);
  else if (order.type === "skipBatch" && !judgesBefore(context.configured, trainer))
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      `no batch can be skipped: the trainer "${trainer.kind}" can neither throw a gradient away nor rehearse a batch`,
      { order },
    );
  else if (order.type === "skipPhase" && !anotherPhase(context))
    throw new WeirError("WEIR_E_STATE", "the phase cannot be skipped: it is the last one", { order });
}

/** Whether another phase comes after the present one. */
export function anotherPhase({ curriculumMachine, phases }: RunContext): boolean {
  return curriculumMachine.getSnapshot().context.phase < phases.length;
}

/** Replaced parts and rollbacks are carried out elsewhere. */
async function obey(context: RunContext, { order, by, reason }: OrderWish, signal: AbortSignal): Promise<void> {
  if (order.type === "skipBatch")
    context.progress = {
      ...context.progress,
      skipBatch: `${initiatorText(by)} had the batch skipped${reasonText(reason)}`,
    };
  else if (order.type === "skipPhase") context.progress = { ...context.progress, skipPhase: { by, reason } };
  else if (order.type === "set") {
    const before = context.config;
    turnKnob(context, order.path, order.value, by, reason);
    if (context.config !== before && DRAWN_WITH.includes(order.path)) await context.pipeline.renew(signal);
  }
}

/** The decision at the end of a step: an order to end the phase wins over `hold`, and is a fact of the journal then. */
export function skipOr(context: RunContext, step: number, decided: CurriculumDecision): CurriculumDecision {
  const { progress, taps } = context;
  const { skipPhase: wish } = progress;
  if (wish === null) return decided;
  context.progress = { ...progress, skipPhase: null };
  if (decided.action !== "hold" || !anotherPhase(context)) return decided;
  taps.fact("phase.skipped", step, { phase: decided.phase, ...wish });
  const reason = `${initiatorText(wish.by)} ended the phase${reasonText(wish.reason)}`;
  return { ...decided, action: "advance", nextPhase: decided.phase + 1, reason };
}

/** The guard of the next batch: the run's own, but for a batch that is to be skipped. */
export function guardOfBatch({ parts, progress }: Pick<RunContext, "parts" | "progress">): Guard {
  const { guard } = parts;
  const { skipBatch: reason } = progress;
  if (reason === null) return guard;
  return {
    kind: guard.kind,
    specificationVersion: 1,
    judge: () => ({ action: "skip", rule: "skip_batch", reason }),
    ...(guard.prepare ? { prepare: guard.prepare.bind(guard) } : {}),
  };
}

const ARTICLES: Readonly<Record<Initiator["kind"], string>> = {
  program: "a program",
  operator: "an operator",
  guard: "the guard",
  rollback: "a rollback",
};

function initiatorText({ kind, name }: Initiator): string {
  return name === "" ? ARTICLES[kind] : name;
}

function reasonText(reason: string | null): string {
  return reason === null ? "" : `: ${reason}`;
}
