/**
 * Why an engine process ended: in particular whether the system killed it because memory ran out, which looks like any
 * other SIGKILL. Owns the message and its advice.
 */
import { type MemorySources, memoryKills, residentBytes, usableMemory } from "../../system/memory.js";

export interface ExitCause {
  /** `oom`: out of memory; `killed`: by a person or another program; null: it ended otherwise. */
  readonly cause: "oom" | "killed" | null;
  readonly reason: string;
  /** What helps. */
  readonly remedy: string;
}

/** Exit code for SIGKILL of a shell or a container's first process. */
const KILLED_CODE = 137;
/** Last messages of Node, libstdc++ and TensorFlow when memory runs out. */
const OUT_OF_MEMORY = /heap out of memory|bad_alloc|OOM when allocating|Cannot allocate memory/i;
const LESS_MEMORY =
  "lower update.microBatchTokens, rollout.promptsPerCall, rollout.groupSize, the lengths of phases or engine.memoryGiB, take engine.precision bfloat16 or model.lora, or give weir more memory";
const ANOTHER = "start another and restore the last checkpoint";

const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(2)} GiB`;

/** Watches one process: its resident memory while it lives, and the system's count of kills. */
export class ExitWatch {
  private readonly killsBefore: number | null;
  private resident: number | null = null;

  constructor(
    private readonly pid: number | undefined,
    private readonly sources?: MemorySources,
  ) {
    this.killsBefore = memoryKills(sources);
  }

  /** Notes the process's resident memory; called now and then while it lives. */
  sample(): void {
    if (this.pid !== undefined) this.resident = residentBytes(this.pid, this.sources) ?? this.resident;
  }

  /** The cause of an end with this code or signal, after these last words on stderr. */
  explain(code: number | null, signal: NodeJS.Signals | null, said: string): ExitCause {
    const words = said === "" ? "" : `; it said: ${said}`;
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    if (OUT_OF_MEMORY.test(said))
      return { cause: "oom", reason: `it ran out of memory (${how})${words}`, remedy: LESS_MEMORY };
    if (signal !== "SIGKILL" && code !== KILLED_CODE) return { cause: null, reason: `${how}${words}`, remedy: ANOTHER };
    const kills = memoryKills(this.sources);
    if (kills !== null && this.killsBefore !== null && kills <= this.killsBefore) {
      const reason = `${how}, sent by a person or another program: the system counts no out-of-memory kill${words}`;
      return { cause: "killed", reason, remedy: ANOTHER };
    }
    const { limit, machineBytes } = usableMemory(this.sources);
    const room =
      limit === null ? `the machine has ${gib(machineBytes)}` : `the limit is ${gib(limit.bytes)} (${limit.file})`;
    const held = this.resident === null ? "" : `, the engine held ${gib(this.resident)} when last looked at`;
    const sure = kills === null ? "most likely " : "";
    return {
      cause: "oom",
      reason: `${how}: killed by the system, ${sure}out of memory (${room}${held})${words}`,
      remedy: LESS_MEMORY,
    };
  }
}
