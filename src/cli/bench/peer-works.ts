/**
 * The pieces of work that weir and a peer both do: the command of each side, and the figures that are compared. Both
 * sides run the same model shape, token counts, batch and optimiser; warm-up steps count for neither.
 */
import { basename } from "node:path";
import type { Dtype } from "./options.js";
import type { Better } from "./statistics.js";

export const WORK_GROUPS = ["step", "grpo", "grpo-long", "sample"] as const;
export type WorkGroup = (typeof WORK_GROUPS)[number];
/** Groups that run by default; the others take a quarter of an hour per pair. */
export const USUAL_GROUPS: readonly WorkGroup[] = ["step", "grpo", "sample"];

/** What weir is measured against. vLLM needs another PyTorch than the rest, and so has an environment of its own. */
export const PEERS = ["pytorch", "trl", "transformers", "vllm"] as const;
export type Peer = (typeof PEERS)[number];

export interface Figure {
  /** Key in the JSON of either side. */
  readonly key: string;
  readonly label: string;
  readonly better: Better;
}

export interface PeerWork {
  readonly id: string;
  readonly group: WorkGroup;
  readonly dtype: Dtype;
  readonly title: string;
  readonly weir: readonly string[];
  readonly with: Peer;
  /** Script under bench/peers, and its arguments. */
  readonly peer: readonly [string, ...string[]];
  readonly figures: readonly Figure[];
}

type RlSizes = Readonly<Record<"prompt" | "completion" | "group" | "prompts" | "steps", number>>;

interface Sizes {
  readonly step: { readonly batch: number; readonly length: number; readonly steps: number };
  readonly grpo: RlSizes;
  readonly "grpo-long": RlSizes;
  readonly sample: SampleSizes;
  /** Lengths of the prompts of calls against vLLM. */
  readonly vllmPrompts: readonly number[];
}

type SampleSizes = Readonly<Record<"rows" | "group" | "prompt" | "completion" | "steps", number>>;

const FULL: Sizes = {
  step: { batch: 8, length: 256, steps: 12 },
  grpo: { prompt: 1024, completion: 64, group: 8, prompts: 4, steps: 1 },
  "grpo-long": { prompt: 4096, completion: 64, group: 8, prompts: 4, steps: 1 },
  sample: { rows: 32, group: 8, prompt: 256, completion: 64, steps: 3 },
  vllmPrompts: [256, 1024],
};

/** Shows in a minute or two that everything runs; its figures are not meaningful. */
const QUICK: Sizes = {
  step: { batch: 2, length: 64, steps: 2 },
  grpo: { prompt: 64, completion: 8, group: 4, prompts: 2, steps: 1 },
  "grpo-long": { prompt: 128, completion: 8, group: 4, prompts: 2, steps: 1 },
  sample: { rows: 8, group: 4, prompt: 64, completion: 8, steps: 1 },
  vllmPrompts: [64],
};

/** Sequences of TRL's micro-batch where a whole step does not fit the memory of a small machine. */
const PEER_ROWS = 8;
/** RL steps measured of weir for each of the peer's, which take minutes. */
const RL_STEPS = 3;
/** Steps that a compiled graph of either side needs before its times are steady. */
const STEP_WARMUP = 4;

const MEMORY: Figure = { key: "max_rss_gb", label: "peak memory, GB", better: "lower" };
const STEP_FIGURES: readonly Figure[] = [{ key: "tok_per_s", label: "tokens/s", better: "higher" }, MEMORY];
const GRPO_FIGURES: readonly Figure[] = [
  { key: "step_s", label: "whole step, s", better: "lower" },
  { key: "generate_s", label: "generation, s", better: "lower" },
  { key: "train_s", label: "training, s", better: "lower" },
  MEMORY,
];

/** `{prompt: 64, rows: 2}` as `--prompt 64 --rows 2`. */
function flags(sizes: Readonly<Record<string, number>>): string[] {
  return Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/**
 * Calls against vLLM, whose start takes half a minute: all sequences after one prompt, which either side computes once, and each after a
 * prompt of its own.
 */
function vllmWorks({ sample, vllmPrompts }: Sizes, dtype: Dtype, given: readonly string[]): PeerWork[] {
  const { rows, completion } = sample;
  return vllmPrompts.flatMap((prompt) =>
    [rows, 1].map((group): PeerWork => {
      const same = [...flags({ ...sample, group, prompt }), ...given];
      const prompts = group === 1 ? `${rows} prompts` : "one prompt";
      return {
        id: `sample-vllm-${group === 1 ? "own" : "shared"}-${prompt}-${dtype}`,
        group: "sample",
        dtype,
        title: `sampling, ${rows} sequences of ${completion} new tokens after ${prompts} of ${prompt}, ${dtype} against vLLM`,
        weir: ["bench", "sample", "--dtype", dtype, ...same, "--json"],
        with: "vllm",
        peer: ["vllm_sample.py", "--dtype", dtype, ...same],
        figures: STEP_FIGURES,
      };
    }),
  );
}

/**
 * The works of the groups and types asked for, in the order in which they run. RL steps and starts of vLLM take long in either type: of
 * two types these are run in bfloat16 alone.
 */
export function peerWorks(
  groups: readonly WorkGroup[],
  dtypes: readonly Dtype[],
  quick: boolean,
  model?: string,
): PeerWork[] {
  const sizes = quick ? QUICK : FULL;
  const given = model === undefined ? [] : ["--model", model];
  const step = [...flags(sizes.step), "--warmup", String(STEP_WARMUP), ...given];
  const sample = [...flags(sizes.sample), ...given];
  const { step: s, sample: d } = sizes;
  const ofStep = `SFT step, ${s.batch} rows of ${s.length} tokens`;
  const ofSample = `sampling, ${d.rows / d.group} prompts of ${d.prompt} tokens, groups of ${d.group}, ${d.completion} new tokens`;
  const stepWork = (mode: string, dtype: Dtype, title: string): PeerWork => ({
    id: `step-${mode}`,
    group: "step",
    dtype,
    title: `${ofStep}, ${title}`,
    weir: ["bench", "step", "--dtype", dtype, ...step, "--json"],
    with: "pytorch",
    peer: ["torch_step.py", "--mode", mode, ...step],
    figures: STEP_FIGURES,
  });
  const rlDtype: Dtype = dtypes.includes("bf16") ? "bf16" : "f32";
  const grpoWork = (group: "grpo" | "grpo-long"): PeerWork => {
    const g = sizes[group];
    const { steps, ...shape } = g;
    const same = [...flags(shape), ...given];
    const rows = group === "grpo-long" || model !== undefined ? ["--rows", String(PEER_ROWS)] : [];
    return {
      id: `${group}-${rlDtype}`,
      group,
      dtype: rlDtype,
      title: `RL step, ${g.prompts} prompts of ${g.prompt} tokens, groups of ${g.group}, ${g.completion} new tokens, ${rlDtype} against TRL`,
      weir: ["bench", "grpo", "--dtype", rlDtype, ...same, "--steps", String(RL_STEPS * steps), "--json"],
      with: "trl",
      peer: ["trl_grpo.py", "--dtype", rlDtype, ...same, "--steps", String(steps), ...rows],
      figures: GRPO_FIGURES,
    };
  };
  const sampleWork = (dtype: Dtype): PeerWork => ({
    id: `sample-${dtype}`,
    group: "sample",
    dtype,
    title: `${ofSample}, ${dtype} against transformers`,
    weir: ["bench", "sample", "--dtype", dtype, ...sample, "--json"],
    with: "transformers",
    peer: ["transformers_sample.py", "--dtype", dtype, ...sample],
    figures: STEP_FIGURES,
  });
  const works = [
    stepWork("f32", "f32", "f32 against PyTorch"),
    stepWork("bf16", "bf16", "bf16 against PyTorch (autocast)"),
    stepWork("compile-bf16", "bf16", "bf16 against PyTorch (autocast, torch.compile)"),
    grpoWork("grpo"),
    grpoWork("grpo-long"),
    sampleWork("f32"),
    sampleWork("bf16"),
    ...vllmWorks(sizes, rlDtype, given),
  ];
  const chosen = works.filter((work) => groups.includes(work.group) && dtypes.includes(work.dtype));
  if (model === undefined) return chosen;
  // Rows of another model are listed next to those of the default one.
  const name = basename(model);
  return chosen.map((work) => ({ ...work, id: `${work.id}-${name}`, title: `${name}: ${work.title}` }));
}
