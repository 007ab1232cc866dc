import type { Time } from "../system/time.js";
import type { Draws } from "./latency.js";
import type { Life } from "./life.js";

/** What a person, or the machine's end, may do to a run at any moment. */

export const CONTROL_EVENTS = [
  "pause",
  "checkpoint",
  "skipPhase",
  "rollBack",
  "replace",
  "outage",
  "stop",
  "abort",
  "kill",
] as const;
export type ControlEvent = (typeof CONTROL_EVENTS)[number];

/** Control events per fault. */
const SHARE = 0.3;
const LONGEST_PAUSE_MS = 60_000;

/** States that the lifecycle does not leave. */
const FINAL: ReadonlySet<string> = new Set(["completed", "stopped", "failed"]);

const isOver = ({ alive, driver }: Life): boolean => !alive || FINAL.has(driver.lifecycle);

/**
 * Lets control events happen during the awaits of parts: with probability `faults` · SHARE one somewhere within each, and with
 * probability `knobs` the turn of a knob.
 */
export class ControlEvents {
  constructor(
    private readonly time: Time,
    private readonly draws: Draws,
    private readonly faults: number,
    private readonly knobs: number,
    private readonly trace: (what: string) => void,
  ) {}

  /** A call of a part begins that takes `ms`. */
  called(life: Life, ms: number): void {
    if (this.knobs > 0 && this.draws.next("turn") < this.knobs)
      this.time.set(() => this.turn(life), ms * this.draws.next("turn/when"));
    if (this.faults === 0) return;
    const value = this.draws.next("control");
    if (value >= this.faults * SHARE) return;
    const event = CONTROL_EVENTS[Math.floor((value / (this.faults * SHARE)) * CONTROL_EVENTS.length)] as ControlEvent;
    this.time.set(() => this.happen(life, event), ms * this.draws.next("control/when"));
  }

  /** A person looks at a run that was paused, also by its guard, and lets it go on. */
  paused(life: Life): void {
    this.time.set(() => {
      if (!isOver(life) && life.driver.lifecycle === "paused") life.driver.send({ type: "RESUME" });
    }, LONGEST_PAUSE_MS);
  }

  private turn(life: Life): void {
    if (!isOver(life)) life.turnKnob(() => this.draws.next("turn/value"));
  }

  private happen(life: Life, event: ControlEvent): void {
    if (isOver(life)) return;
    const { time } = this;
    const { driver, options, outage } = life;
    this.trace(`control: ${event}`);
    switch (event) {
      case "pause":
        driver.send({ type: "PAUSE" });
        time.set(() => {
          if (!isOver(life)) driver.send({ type: "RESUME" });
        }, LONGEST_PAUSE_MS * this.draws.next("pause"));
        return;
      case "checkpoint":
        driver.send({ type: "CHECKPOINT" });
        return;
      case "skipPhase":
        life.skipPhase();
        return;
      case "rollBack": {
        const value = this.draws.next("rollBack");
        life.rollBack(value < 0.5 ? null : 2 * value - 1);
        return;
      }
      case "replace":
        life.replaceParts();
        return;
      case "outage":
        outage.begin(3 * options.config.reward.timeoutMs * this.draws.next("outage"));
        return;
      case "stop":
        driver.send({ type: "STOP" });
        return;
      case "abort":
        driver.send({ type: "ABORT" });
        return;
      case "kill":
        life.kill();
    }
  }
}
