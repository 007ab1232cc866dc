/** Counts facts for `/metrics`: alarms, verdicts of the guard, rollbacks and turns of knobs. Pure but for its own counts. */
import type { Alert } from "../../src/contracts/alert.js";
import type { Fact } from "../../src/contracts/fact.js";

/** A count with its labels. */
export interface Count {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Counts by their labels. */
class Counts {
  private readonly counts = new Map<string, { readonly labels: Readonly<Record<string, string>>; value: number }>();

  add(labels: Readonly<Record<string, string>>): void {
    const key = JSON.stringify(labels);
    const known = this.counts.get(key);
    if (known) known.value++;
    else this.counts.set(key, { labels, value: 1 });
  }

  read(): readonly Count[] {
    return [...this.counts.values()];
  }
}

export class FactTally {
  private readonly alarms = new Counts();
  private readonly judged = new Counts();
  private readonly wentBack = new Counts();
  private readonly turned = new Counts();
  /** Alarms that have begun and not ended, by id. */
  private readonly open = new Map<string, Alert>();

  take(fact: Fact): void {
    switch (fact.type) {
      case "alert.raised": {
        const { alert } = fact.data;
        this.alarms.add(labelsOf(alert));
        this.open.set(alert.id, alert);
        return;
      }
      case "alert.ended":
        this.open.delete(fact.data.id);
        return;
      case "guard.judged":
        this.judged.add({ verdict: fact.data.verdict });
        return;
      case "run.rolledBack":
        this.wentBack.add({ by: fact.data.by.kind });
        return;
      case "knob.turned":
        this.turned.add({ knob: fact.data.path, by: fact.data.by.kind });
        return;
      // What came after the checkpoint is repeated.
      case "run.resumed":
        for (const [id, alert] of [...this.open]) if (alert.step > fact.data.step) this.open.delete(id);
        return;
      case "run.finished":
        this.open.clear();
    }
  }

  get alarmsTotal(): readonly Count[] {
    return this.alarms.read();
  }

  /** Alarms that last, by rule and level; 0 for those that have ended. */
  get alarmsActive(): readonly Count[] {
    const open = [...this.open.values()].map((alert) => JSON.stringify(labelsOf(alert)));
    return this.alarms.read().map(({ labels }) => {
      const key = JSON.stringify(labels);
      return { labels, value: open.filter((other) => other === key).length };
    });
  }

  get verdicts(): readonly Count[] {
    return this.judged.read();
  }

  get rollbacks(): readonly Count[] {
    return this.wentBack.read();
  }

  get turns(): readonly Count[] {
    return this.turned.read();
  }
}

const labelsOf = ({ rule, level }: Alert) => ({ rule, level });
