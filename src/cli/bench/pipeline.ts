/**
 * `weir bench pipeline`: the pipeline alone, over parts that cost next to nothing: samples per second, and whether memory grows. The
 * run is cut into parts of the same number of samples; after each, garbage is collected and the heap is measured.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { busyShare } from "./machine.js";
import { createNullRun, type NullRunSize } from "./null-run.js";
import { leastSquaresSlope, rounded } from "./statistics.js";

export interface PipelineBenchOptions {
  readonly samples: string;
  readonly prompts: string;
  readonly group: string;
  readonly tokens: string;
  readonly lag: string;
}

interface HeapSample {
  readonly samples: number;
  readonly samples_per_s: number;
  readonly heap_mib: number;
}

export interface PipelineBenchResult {
  readonly samples: number;
  readonly steps: number;
  readonly samples_per_s: number;
  /** Of the fastest part of the run: what a disturbed machine still shows. */
  readonly best_samples_per_s: number;
  /** Samples per second of processor time: what an idle processor would reach at least, however busy this one is. */
  readonly samples_per_cpu_s: number;
  /** Of the heap after a collection, over the last four fifths of the run. */
  readonly heap_slope_bytes_per_1000_samples: number;
  readonly heap_first_mib: number;
  readonly heap_last_mib: number;
  /** Share of the processors' time that was in use before the run. */
  readonly busy_share: number;
  /** High-water mark of each queue, and its bound. */
  readonly queues: readonly { readonly queue: string; readonly high_water: number; readonly bound: number }[];
  readonly parts: readonly HeapSample[];
}

/** Parts of the run, each of which ends with a measurement of the heap. */
const PARTS = 10;
/** Caches and compiled code settle in the first part, which the slope leaves out. */
const SETTLING_PARTS = 2;

const mebibytes = (bytes: number) => Number((bytes / 2 ** 20).toFixed(3));

/** A function that collects garbage at once. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

/** Errors: WEIR_E_BENCHMARK where a queue exceeded its bound, or a rollout has no end state. */
export async function benchPipeline(options: PipelineBenchOptions): Promise<PipelineBenchResult> {
  const samples = wholeNumber("samples", options.samples, PARTS);
  const size: NullRunSize = {
    prompts: wholeNumber("prompts", options.prompts, 1),
    group: wholeNumber("group", options.group, 2),
    tokens: wholeNumber("tokens", options.tokens, 1),
    maxLag: wholeNumber("lag", options.lag),
  };
  const busy_share = await busyShare();
  const run = createNullRun(size);
  const collect = collector();
  const line = progress();
  const { signal } = new AbortController();
  const parts: HeapSample[] = [];
  let trained = 0;
  let steps = 0;
  let seconds = 0;
  let cpuSeconds = 0;
  for (let part = 1; part <= PARTS; part++) {
    const before = trained;
    const started = performance.now();
    const cpu = process.cpuUsage();
    for (; trained < (samples * part) / PARTS; steps++) trained += await run.step(signal);
    const took = (performance.now() - started) / 1000;
    seconds += took;
    const { user, system } = process.cpuUsage(cpu);
    cpuSeconds += (user + system) / 1e6;
    collect();
    const heap_mib = mebibytes(process.memoryUsage().heapUsed);
    parts.push({ samples: trained, samples_per_s: Math.round((trained - before) / took), heap_mib });
    line.update(`${trained}/${samples} samples  ${Math.round(trained / seconds)}/s  heap ${heap_mib.toFixed(1)} MiB`);
  }
  line.done();
  await run.stop();
  assertExact(run);
  const settled = parts.slice(SETTLING_PARTS);
  return {
    samples: trained,
    steps,
    samples_per_s: Math.round(trained / seconds),
    best_samples_per_s: Math.max(...parts.map(({ samples_per_s }) => samples_per_s)),
    samples_per_cpu_s: Math.round(trained / cpuSeconds),
    heap_slope_bytes_per_1000_samples: rounded(
      leastSquaresSlope(
        settled.map((one) => one.samples / 1000),
        settled.map(({ heap_mib }) => heap_mib * 2 ** 20),
      ),
    ),
    heap_first_mib: parts[0]?.heap_mib ?? 0,
    heap_last_mib: parts.at(-1)?.heap_mib ?? 0,
    busy_share,
    queues: run.gauges.read().map(({ name, highWater, bound }) => ({ queue: name, high_water: highWater, bound })),
    parts,
  };
}

function assertExact({ gauges, entries }: ReturnType<typeof createNullRun>): void {
  const over = gauges.read().find(({ highWater, bound }) => highWater > bound);
  if (over) throw new WeirError("WEIR_E_BENCHMARK", `queue "${over.name}" held ${over.highWater} of ${over.bound}`);
  const of = (state: string) => entries.get(state) ?? 0;
  const ended = of("trained") + of("dropped");
  if (of("issued") !== ended)
    throw new WeirError("WEIR_E_BENCHMARK", `${of("issued")} rollouts were issued, ${ended} have an end state`);
}
