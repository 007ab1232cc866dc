import type { Config } from "../config/schema.js";
import { ControlEvents } from "./control-events.js";
import { GroundTruth, type Violation } from "./ground-truth.js";
import { AFTERMATH_MS, checkAftermath, checkError, checkLife, checkRun } from "./invariants.js";
import { Draws } from "./latency.js";
import { Life, samplersOf } from "./life.js";
import { MemoryDisk } from "./memory-store.js";
import { VirtualTime } from "./virtual-time.js";

/**
 * Runs the control plane of a configuration on virtual time, once for each seed, over scripted parts that may fail, and says what
 * it found: deadlocks, broken invariants, and how busy samplers and trainer were.
 */

export interface SimulateOptions {
  /** Probability of a fault at each await of a part. */
  readonly faults: number;
  /** Probability that the guard asks for a rollback of an update; none but the guard's doubts unless given. */
  readonly rollbacks?: number;
  /** Probability that a knob is turned during an await of a part, to any value within its bounds; nobody turns one unless given. */
  readonly knobs?: number;
  /** Keep the event log. */
  readonly trace?: boolean;
}

/** Whether a seed found a fault of the control plane. */
export const foundFault = ({ deadlock, violations }: SeedResult): boolean => deadlock !== null || violations.length > 0;

/** What became of one seed. */
export interface SeedResult {
  readonly seed: number;
  /** Processes that the run took; each but the first went on after a stop, a failure or a kill. */
  readonly lives: number;
  /** Where it stands still though nothing is over; null where it does not. */
  readonly deadlock: string | null;
  readonly violations: readonly Violation[];
  /** How the last process ended: `completed`, or why it did not. */
  readonly end: string;
  readonly steps: number;
  /** Virtual seconds from the first RL step's beginning to the last one's end. */
  readonly seconds: number;
  readonly samplerBusy: number;
  readonly trainerBusy: number;
  readonly maxLag: number;
  readonly rollouts: { readonly ended: number; readonly stale: number; readonly rolledBack: number };
  readonly queues: Readonly<Record<string, number>>;
  readonly log: readonly string[];
}

/** The sum over seeds, as `weir simulate` prints it. */
export interface SimulationSummary {
  readonly runs: number;
  readonly deadlocks: number;
  readonly invariant_violations: number;
  readonly max_lag: number;
  readonly stale_share: number;
  readonly steps_per_second: number;
  readonly sampler_busy: number;
  readonly trainer_busy: number;
  /** Most items that each queue ever held. */
  readonly queue_high_water: Readonly<Record<string, number>>;
}

/** Lives with faults; the last one has none and must end. */
const FAULTY_LIVES = 8;
/** Timers that one life may fire before it counts as running in circles. */
const MOST_TIMERS = 1_000_000;

/** Simulates one seed. Never rejects for what the control plane does. */
export async function simulateSeed(config: Config, seed: number, options: SimulateOptions): Promise<SeedResult> {
  const { rollout, run } = config;
  const callsInFlight = rollout.callsInFlight ?? Math.max(1, samplersOf(config));
  const simulated = { ...config, run: { ...run, seed }, rollout: { ...rollout, callsInFlight } };
  return new SimulatedRun(simulated, seed, options).run();
}

class SimulatedRun {
  private readonly time = new VirtualTime();
  private readonly truth = new GroundTruth(() => this.time.now());
  private readonly disk = new MemoryDisk();
  private readonly log: string[] = [];
  private readonly queues: Record<string, number> = {};
  /** Virtual ms and busy ms of the RL stage. */
  private readonly stage = { ms: 0, sampler: 0, trainer: 0 };
  private lives = 0;

  constructor(
    private readonly config: Config,
    private readonly seed: number,
    private readonly options: SimulateOptions,
  ) {}

  async run(): Promise<SeedResult> {
    let deadlock: string | null = null;
    let life: Life;
    for (;;) {
      life = this.born();
      deadlock = await this.live(life);
      this.measure(life);
      if (deadlock !== null || life.ended?.status === "completed" || this.lives > FAULTY_LIVES) break;
    }
    if (deadlock === null) checkRun(this.truth, this.disk, life.ended?.status === "completed");
    return this.result(life, deadlock);
  }

  private born(): Life {
    const { config, seed, disk, truth, time, options } = this;
    const number = this.lives++;
    const faulty = number < FAULTY_LIVES;
    const [faults, rollbacks] = faulty ? [options.faults, options.rollbacks ?? 0] : [0, 0];
    const trace = options.trace
      ? (what: string) => void this.log.push(`${stamp(time.now())} ${what}`)
      : () => undefined;
    const control = new ControlEvents(time, new Draws(seed, "control", number), faults, options.knobs ?? 0, trace);
    trace(`life ${number} begins`);
    const life: Life = new Life({
      ...{ config, seed, number, faults, rollbacks, disk, truth, trace },
      time: time.lifetime(),
      onCall: (_, ms) => control.called(life, ms),
      onPaused: () => control.paused(life),
    });
    return life;
  }

  /** Runs a life to its end; says where it is stuck, or null. */
  private async live(life: Life): Promise<string | null> {
    const { time, truth } = this;
    let refused: unknown = null;
    life.begin().catch((error) => {
      refused = error ?? "refused";
    });
    const over = () => !life.alive || life.ended !== null || refused !== null;
    const ran = await time.run(over, MOST_TIMERS);
    if (ran !== "done")
      return `${ran === "idle" ? "nothing is left that could happen" : `no end after ${MOST_TIMERS} timers`}; ${standing(life)}`;
    if (!life.alive) return null;
    if (refused !== null) {
      checkError(refused, truth, life.options.faults > 0);
      life.kill();
      return null;
    }
    checkLife(life, truth, this.disk, life.options.faults > 0);
    let waited = false;
    time.set(() => {
      waited = true;
    }, AFTERMATH_MS);
    await time.run(() => waited);
    checkAftermath(life, truth);
    life.kill();
    return null;
  }

  private measure(life: Life): void {
    for (const { name, highWater } of life.context.gauges.read())
      this.queues[name] = Math.max(this.queues[name] ?? 0, highWater);
    this.stage.ms += life.stage.ms;
    this.stage.sampler += life.stage.sampler;
    this.stage.trainer += life.stage.trainer;
  }

  private result(life: Life, deadlock: string | null): SeedResult {
    const { truth, disk, config, stage } = this;
    const share = (ms: number, count: number) => (stage.ms === 0 ? 0 : ms / (stage.ms * count));
    const counts = disk.book.counts();
    return {
      seed: this.seed,
      lives: this.lives,
      deadlock,
      violations: truth.violations,
      end: endOf(life),
      steps: life.context.progress.step,
      seconds: stage.ms / 1000,
      samplerBusy: share(stage.sampler, Math.max(1, samplersOf(config))),
      trainerBusy: share(stage.trainer, 1),
      maxLag: Math.max(0, truth.lags.length - 1),
      rollouts: {
        ended: counts.trained + counts.dropped + counts.rolledBack,
        stale: disk.book.reasons().stale ?? 0,
        rolledBack: counts.rolledBack,
      },
      queues: this.queues,
      log: this.log,
    };
  }
}

function endOf(life: Life): string {
  const { ended } = life;
  if (ended === null) return "without an end";
  return ended.status === "failed"
    ? `failed: ${ended.error instanceof Error ? ended.error.message : ended.error}`
    : ended.status;
}

const stamp = (ms: number) => `${(ms / 1000).toFixed(3)} s`;

/** Where a life stands, for a person who looks for what it waits for. */
function standing({ driver, context, calls }: Life): string {
  const queues = context.gauges
    .read()
    .filter(({ depth, waitingProducers, waitingConsumers }) => depth + waitingProducers + waitingConsumers > 0)
    .map(
      ({ name, depth, bound, waitingProducers, waitingConsumers }) =>
        `${name} ${depth}/${bound} (${waitingProducers} push, ${waitingConsumers} pull)`,
    );
  return `lifecycle ${driver.lifecycle}, step ${context.progress.step}, open calls: ${calls.open.join(", ") || "none"}, queues ${queues.join(", ") || "at rest"}`;
}

/** Adds seeds up. */
export function summaryOf(results: readonly SeedResult[]): SimulationSummary {
  const sum = (of: (result: SeedResult) => number) => results.reduce((total, result) => total + of(result), 0);
  const seconds = sum((result) => result.seconds);
  const weighted = (of: (result: SeedResult) => number) =>
    seconds === 0 ? 0 : sum((result) => of(result) * result.seconds) / seconds;
  const queues: Record<string, number> = {};
  for (const result of results)
    for (const [name, most] of Object.entries(result.queues)) queues[name] = Math.max(queues[name] ?? 0, most);
  const ended = sum(({ rollouts }) => rollouts.ended);
  return {
    runs: results.length,
    deadlocks: results.filter(({ deadlock }) => deadlock !== null).length,
    invariant_violations: sum(({ violations }) => violations.length),
    max_lag: results.reduce((most, { maxLag }) => Math.max(most, maxLag), 0),
    stale_share: ended === 0 ? 0 : sum(({ rollouts }) => rollouts.stale) / ended,
    steps_per_second: seconds === 0 ? 0 : sum(({ steps }) => steps) / seconds,
    sampler_busy: weighted(({ samplerBusy }) => samplerBusy),
    trainer_busy: weighted(({ trainerBusy }) => trainerBusy),
    queue_high_water: queues,
  };
}
