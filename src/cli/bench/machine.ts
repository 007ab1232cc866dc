/** What a measurement was taken on: processor, memory and versions, as far as they bear on speed. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import { locateNative, packageRoot } from "../../model/tensor/native/index.js";
import { gigabytes, rounded } from "./statistics.js";

export const machineSchema = z.object({
  platform: z.string(),
  cpu: z.string(),
  cores: z.number(),
  memory_gb: z.number(),
  /** Instruction sets that matrix products live on, as the kernel names them. */
  flags: z.array(z.string()),
});
export type Machine = z.infer<typeof machineSchema>;

/** Flags of the first processor in the text of /proc/cpuinfo: AMX, AVX-512 and what they compute in. */
export function matrixFlags(cpuinfo: string): string[] {
  const line = cpuinfo.split("\n").find((text) => /^(flags|Features)\s*:/.test(text)) ?? "";
  const names = (line.split(":")[1] ?? "").trim().split(/\s+/);
  const telling = /^(fma|avx2|avx_vnni|avx512f|avx512_vnni|avx512_bf16|avx512_fp16|amx_\w+|asimd|bf16|sve2?|i8mm)$/;
  return names.filter((name) => telling.test(name));
}

/** Whether products of bfloat16 numbers have instructions of their own here. */
export function multipliesBfloat16({ flags }: Machine): boolean {
  return flags.some((flag) => /^(avx512_bf16|amx_bf16|bf16)$/.test(flag));
}

function cpuinfo(): string {
  try {
    return readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}

export function describeMachine(): Machine {
  return {
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memory_gb: gigabytes(totalmem()),
    flags: matrixFlags(cpuinfo()),
  };
}

/** Versions of weir, Node and TensorFlow. */
export function ownVersions(): Record<string, string> {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return { weir: version, node: process.version, tensorflow: locateNative().tensorflowVersion ?? "none" };
}

/** Time over which the load is watched, ms. */
const LOAD_WINDOW_MS = 500;

/** Share of the processors' time, over a short while, that somebody uses: what disturbs a measurement that is to begin. */
export async function busyShare(): Promise<number> {
  const read = () => {
    const times = cpus().map((cpu) => cpu.times);
    const idle = times.reduce((sum, time) => sum + time.idle, 0);
    const total = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0);
    return { idle, total };
  };
  const before = read();
  await wait(LOAD_WINDOW_MS);
  const after = read();
  const passed = after.total - before.total;
  return passed > 0 ? rounded(1 - (after.idle - before.idle) / passed) : 0;
}
