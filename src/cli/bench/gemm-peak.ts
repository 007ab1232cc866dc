/**
 * The speed of large matrix products on the backend alone: what a step is compared with. Measured in a process of its
 * own (setup/probe.mjs), while no engine computes.
 */
import type { BackendName, EngineOptions } from "../../contracts/engine.js";
import { locateNative } from "../../model/tensor/native/index.js";
import { type BackendProbe, probeInProcess } from "../doctor.js";
import type { Dtype } from "./options.js";

/** GFLOP/s; null where the backend cannot multiply that type. */
export type GemmPeak = Readonly<Record<Dtype, number | null>>;

/** Products of a size at which each backend is at its best, and which still take well under a second. */
const SHAPES: Readonly<Record<BackendName, string>> = {
  tensorflow: "2048x1024x4096",
  wasm: "512x512x512",
  cpu: "192x192x192",
};

/** The backend that an engine with these options will probably use. */
export function expectedBackend(wanted: EngineOptions["backend"]): BackendName {
  if (wanted !== "auto") return wanted;
  return locateNative().found ? "tensorflow" : "wasm";
}

/** One measurement; all null where the probe fails. */
export async function measureGemmPeak(backend: BackendName): Promise<GemmPeak> {
  const directory = backend === "tensorflow" ? locateNative().path : null;
  const probe: BackendProbe = await probeInProcess(backend, directory, process.env, ["--gemm", SHAPES[backend]]);
  return { f32: probe.peak?.f32 ?? null, bf16: probe.peak?.bf16 ?? null };
}

/** The larger of two measurements, per type: the slower one was disturbed by other load. */
export function largerPeak(first: GemmPeak, second: GemmPeak): GemmPeak {
  const larger = (a: number | null, b: number | null) => (a === null || b === null ? (a ?? b) : Math.max(a, b));
  return { f32: larger(first.f32, second.f32), bf16: larger(first.bf16, second.bf16) };
}
