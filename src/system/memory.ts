/**
 * The memory that this process may use: the machine's, and the limits of its containers (control groups, both versions;
 * of nested containers the tightest limit counts). Pure, given its sources.
 */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { posix } from "node:path";

/** Where facts about memory come from; tests give their own. */
export interface MemorySources {
  /** Content of a file, null where it cannot be read. */
  readonly read: (path: string) => string | null;
  /** Bytes of the machine, and of them what is free or can be freed. */
  readonly total: () => number;
  readonly free: () => number;
}

const systemSources: MemorySources = {
  read: (path) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return null;
    }
  },
  total: totalmem,
  free: freemem,
};

/** A limit of a control group. */
export interface MemoryLimit {
  readonly bytes: number;
  /** The file that states it. */
  readonly file: string;
}

export interface UsableMemory {
  /** What the machine has, bytes. */
  readonly machineBytes: number;
  /** The tightest limit below that; null where there is none. */
  readonly limit: MemoryLimit | null;
  /** What may be used in all. */
  readonly totalBytes: number;
  /** What is free of it now. */
  readonly freeBytes: number;
}

/** A control group that this process is in, or one above it. */
interface Group {
  readonly version: 1 | 2;
  readonly directory: string;
}

/** Files of each version that state a limit; `memory.high` slows a group down so much that it counts as one. */
const LIMIT_FILES = { 1: ["memory.limit_in_bytes"], 2: ["memory.max", "memory.high"] } as const;
const USAGE_FILE = { 1: "memory.usage_in_bytes", 2: "memory.current" } as const;
/** Pages of files that the kernel gives back before anything is killed. */
const RECLAIMABLE = { 1: "total_inactive_file", 2: "inactive_file" } as const;
const KILLS_FILE = { 1: "memory.oom_control", 2: "memory.events" } as const;

/** A hierarchy of control groups, or the part of it from `root` on, at `point`. */
interface Mount {
  readonly version: 1 | 2;
  readonly root: string;
  readonly point: string;
}

/** Memory groups of this process, innermost first. */
function groupsOf({ read }: MemorySources): Group[] {
  const memberships = (read("/proc/self/cgroup") ?? "").split("\n").map((line) => line.split(":"));
  return mountsOf(read("/proc/self/mountinfo") ?? "").flatMap(({ version, root, point }) => {
    const found = memberships.find(([id, controllers = ""]) =>
      version === 2 ? id === "0" && controllers === "" : controllers.split(",").includes("memory"),
    );
    const path = found?.slice(2).join(":");
    if (path === undefined) return [];
    // The mount may show a part of the hierarchy only, as in a container.
    const inside = path === root || path.startsWith(root === "/" ? "/" : `${root}/`) ? posix.relative(root, path) : "";
    const parts = inside.split("/").filter((part) => part !== "" && part !== "..");
    return Array.from({ length: parts.length + 1 }, (_, up) => ({
      version,
      directory: posix.join(point, ...parts.slice(0, parts.length - up)),
    }));
  });
}

/** Mounted hierarchies of control groups that govern memory: `id parent dev root point options … - type source superoptions`. */
function mountsOf(mountinfo: string): Mount[] {
  return mountinfo.split("\n").flatMap((line): Mount[] => {
    const [left = "", right = ""] = line.split(" - ");
    const [, , , root, point] = left.split(" ");
    const [type, , options = ""] = right.split(" ");
    if (root === undefined || point === undefined) return [];
    if (type === "cgroup2") return [{ version: 2, root, point }];
    return type === "cgroup" && options.split(",").includes("memory") ? [{ version: 1, root, point }] : [];
  });
}

/** A whole number of bytes; null for `max`, an empty or a missing file. */
function bytesIn(text: string | null): number | null {
  return text !== null && /^\d+\s*$/.test(text) ? Number(text) : null;
}

/** A counter of a file of `name value` lines. */
function counterIn(text: string | null, name: string): number | null {
  const line = (text ?? "").split("\n").find((one) => one.startsWith(`${name} `));
  return line === undefined ? null : bytesIn(line.slice(name.length + 1));
}

/** The memory that may be used, now. */
export function usableMemory(sources: MemorySources = systemSources): UsableMemory {
  const { read } = sources;
  const machineBytes = sources.total();
  let limit: MemoryLimit | null = null;
  let freeBytes = sources.free();
  for (const { version, directory } of groupsOf(sources)) {
    for (const name of LIMIT_FILES[version]) {
      const file = posix.join(directory, name);
      const bytes = bytesIn(read(file));
      // Version 1 states "no limit" as a number beyond any machine.
      if (bytes === null || bytes >= machineBytes) continue;
      if (limit === null || bytes < limit.bytes) limit = { bytes, file };
      const used = bytesIn(read(posix.join(directory, USAGE_FILE[version]))) ?? 0;
      const reclaimable = counterIn(read(posix.join(directory, "memory.stat")), RECLAIMABLE[version]) ?? 0;
      freeBytes = Math.min(freeBytes, Math.max(0, bytes - Math.max(0, used - reclaimable)));
    }
  }
  return { machineBytes, limit, totalBytes: limit?.bytes ?? machineBytes, freeBytes };
}

/**
 * Out-of-memory kills so far: in this process's control group, whichever limit caused them; on the whole machine where no
 * group counts them; null where neither is known.
 */
export function memoryKills(sources: MemorySources = systemSources): number | null {
  const { read } = sources;
  for (const { version, directory } of groupsOf(sources)) {
    const count = counterIn(read(posix.join(directory, KILLS_FILE[version])), "oom_kill");
    if (count !== null) return count;
  }
  return counterIn(read("/proc/vmstat"), "oom_kill");
}

/** Resident memory of a process, bytes; null where it is not known. */
export function residentBytes(pid: number, { read }: Pick<MemorySources, "read"> = systemSources): number | null {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "")?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
