/** Memory of the GPU that TensorFlow computes on, as NVIDIA's driver states it. */
import { spawnSync } from "node:child_process";

/** Asks the driver; null where it does not answer. Tests give their own. */
export type AskDriver = (args: readonly string[]) => string | null;

const askDriver: AskDriver = (args) => {
  const answer = spawnSync("nvidia-smi", args, { encoding: "utf8", timeout: 30_000 });
  return answer.status === 0 ? answer.stdout : null;
};

/** Bytes that are free on the first GPU that this process may use (CUDA_VISIBLE_DEVICES); null where that is not known. */
export function freeGpuBytes(
  env: Readonly<Record<string, string | undefined>> = process.env,
  ask: AskDriver = askDriver,
): number | null {
  const [device = ""] = (env.CUDA_VISIBLE_DEVICES ?? "").split(",");
  const text = ask([
    ...(device === "" ? [] : ["-i", device]),
    "--query-gpu=memory.free",
    "--format=csv,noheader,nounits",
  ]);
  const mebibytes = /^\d+/.exec((text ?? "").trim())?.[0];
  return mebibytes === undefined ? null : Number(mebibytes) * 1024 ** 2;
}
