/** The machine of a measurement: processor, memory and versions that affect speed. */
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
  /** Instruction sets that matrix products use, by the kernel's names. */
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

/** Whether the processor has instructions for bfloat16 products. */
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

/** Time over which the load is measured, ms. */
const LOAD_WINDOW_MS = 500;

/** Share of the processors' time in use over a short while: load that would disturb a measurement. */
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
