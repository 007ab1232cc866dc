import { describe, expect, it } from "vitest";
import { ExitWatch } from "../../src/model/engine/exit-cause.js";
import { memoryBudget } from "../../src/model/transformer/memory-plan.js";
import { type MemorySources, memoryKills, residentBytes, usableMemory } from "../../src/system/memory.js";

const GIB = 1024 ** 3;
const gib = (count: number) => `${count * GIB}\n`;

/** A machine of 64 GiB with 60 free, and files as given. */
function machine(files: Readonly<Record<string, string>>): MemorySources & { files: Record<string, string> } {
  const held = { ...files };
  return { files: held, read: (path) => held[path] ?? null, total: () => 64 * GIB, free: () => 60 * GIB };
}

// Lines as Docker, Podman, Kubernetes and systemd show them (proc(5), cgroups(7)).
const V2_MOUNT = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

describe("memory limits", () => {
  it("are none on a bare machine, and on one that has no control groups at all", () => {
    const bare = usableMemory(machine({ "/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": V2_MOUNT }));
    expect(bare).toEqual({ machineBytes: 64 * GIB, limit: null, totalBytes: 64 * GIB, freeBytes: 60 * GIB });
    expect(usableMemory(machine({})).limit).toBeNull();
  });

  it("of a container with a namespace of its own (version 2) stand at the root of its mount", () => {
    const found = usableMemory(
      machine({
        "/proc/self/cgroup": "0::/\n",
        "/proc/self/mountinfo": V2_MOUNT,
        "/sys/fs/cgroup/memory.max": gib(4),
        "/sys/fs/cgroup/memory.high": "max\n",
        "/sys/fs/cgroup/memory.current": gib(3),
        "/sys/fs/cgroup/memory.stat": `anon 5\ninactive_file ${2 * GIB}\nactive_file 7\n`,
      }),
    );
    // 4 GiB less 3 in use, of which 2 are file pages that can be given back.
    expect(found).toEqual({
      machineBytes: 64 * GIB,
      limit: { bytes: 4 * GIB, file: "/sys/fs/cgroup/memory.max" },
      totalBytes: 4 * GIB,
      freeBytes: 3 * GIB,
    });
  });

  it("that lie in one another count as the tightest; memory.high is one, max is none", () => {
    const found = usableMemory(
      machine({
        "/proc/self/cgroup": "0::/system.slice/weir.service/run\n",
        "/proc/self/mountinfo": V2_MOUNT,
        "/sys/fs/cgroup/system.slice/weir.service/run/memory.max": "max\n",
        "/sys/fs/cgroup/system.slice/weir.service/memory.max": gib(8),
        "/sys/fs/cgroup/system.slice/weir.service/memory.current": gib(1),
        "/sys/fs/cgroup/system.slice/memory.high": gib(6),
        "/sys/fs/cgroup/system.slice/memory.current": gib(5),
      }),
    );
    expect(found.limit).toEqual({ bytes: 6 * GIB, file: "/sys/fs/cgroup/system.slice/memory.high" });
    expect(found.freeBytes).toBe(1 * GIB);
  });

  it("of version 1: the group's own, with its parents; the number that means none is none", () => {
    const files = {
      "/proc/self/cgroup": "9:name=systemd:/x\n4:cpu,memory:/docker/abc\n0::/\n",
      "/proc/self/mountinfo": V1_MOUNT,
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": gib(2),
      "/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": gib(1.5),
      "/sys/fs/cgroup/memory/docker/abc/memory.stat": `inactive_file 1\ntotal_inactive_file ${GIB}\n`,
    };
    expect(usableMemory(machine(files))).toMatchObject({
      limit: { bytes: 2 * GIB, file: "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes" },
      freeBytes: 1.5 * GIB,
    });
    // Inside a container without a namespace of its own the mount begins at the container's group.
    const inside = machine({
      "/proc/self/cgroup": "4:memory:/docker/abc\n",
      "/proc/self/mountinfo": "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": gib(3),
    });
    expect(usableMemory(inside).limit?.bytes).toBe(3 * GIB);
  });

  it("of a process moved out of its namespace's root are read where the mount is", () => {
    const found = usableMemory(
      machine({
        "/proc/self/cgroup": "0::/../other\n",
        "/proc/self/mountinfo": V2_MOUNT,
        "/sys/fs/cgroup/memory.max": gib(5),
      }),
    );
    expect(found.limit?.bytes).toBe(5 * GIB);
  });

  it("above what the machine has are none, and a group that is over its limit has nothing free", () => {
    const files = { "/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": V2_MOUNT };
    expect(usableMemory(machine({ ...files, "/sys/fs/cgroup/memory.max": gib(65) })).limit).toBeNull();
    const over = machine({ ...files, "/sys/fs/cgroup/memory.max": gib(1), "/sys/fs/cgroup/memory.current": gib(2) });
    expect(usableMemory(over).freeBytes).toBe(0);
  });

  it("bound what an engine without engine.memoryGiB plans for: 80 % of what is free", () => {
    expect(memoryBudget(null, () => 10 * GIB)).toBe(8 * GIB);
    expect(memoryBudget(3, () => 10 * GIB)).toBe(3 * GIB);
  });
});

describe("the end of an engine process", () => {
  const group = {
    "/proc/self/cgroup": "0::/\n",
    "/proc/self/mountinfo": V2_MOUNT,
    "/sys/fs/cgroup/memory.max": gib(2),
    "/sys/fs/cgroup/memory.events": "low 0\noom 3\noom_kill 1\n",
    "/proc/77/status": "Name:\tnode\nVmRSS:\t 1887436 kB\nThreads:\t9\n",
  };

  it("for lack of memory is called that, with limit, resident memory and what to lower", () => {
    const system = machine(group);
    const watch = new ExitWatch(77, system);
    watch.sample();
    system.files["/sys/fs/cgroup/memory.events"] = "low 0\noom 4\noom_kill 2\n";
    for (const [code, signal] of [
      [null, "SIGKILL"],
      [137, null],
    ] as const) {
      const found = watch.explain(code, signal, "");
      expect(found.cause).toBe("oom");
      expect(found.reason).toMatch(
        /killed by the system, out of memory \(the limit is 2\.00 GiB \(\/sys\/fs\/cgroup\/memory\.max\), the engine held 1\.80 GiB/,
      );
      expect(found.remedy).toMatch(/microBatchTokens.*engine\.memoryGiB.*lora/);
    }
  });

  it("by somebody's kill -9 is not", () => {
    const found = new ExitWatch(77, machine(group)).explain(null, "SIGKILL", "");
    expect(found).toMatchObject({
      cause: "killed",
      reason: expect.stringMatching(/sent by a person or another program/),
    });
    expect(found.remedy).not.toMatch(/microBatchTokens/);
  });

  it("is most likely so where the system does not count, and says what the machine has", () => {
    const found = new ExitWatch(undefined, machine({})).explain(null, "SIGKILL", "");
    expect(found.cause).toBe("oom");
    expect(found.reason).toMatch(/most likely out of memory \(the machine has 64\.00 GiB\)/);
  });

  it("that said so itself is believed; any other end keeps its own words", () => {
    const watch = new ExitWatch(77, machine(group));
    expect(watch.explain(134, null, "FATAL ERROR: JavaScript heap out of memory").cause).toBe("oom");
    expect(watch.explain(null, "SIGABRT", "terminate called: std::bad_alloc").cause).toBe("oom");
    expect(watch.explain(null, "SIGSEGV", "")).toMatchObject({ cause: null, reason: "signal SIGSEGV" });
    expect(watch.explain(3, null, "boom").reason).toBe("exit code 3; it said: boom");
  });

  it("is counted by the innermost group that counts, else by the machine", () => {
    expect(memoryKills(machine(group))).toBe(1);
    expect(memoryKills(machine({ "/proc/vmstat": "nr_free_pages 5\noom_kill 12\n" }))).toBe(12);
    const v1 = { "/proc/self/cgroup": "4:memory:/a\n", "/proc/self/mountinfo": V1_MOUNT };
    const oom = { "/sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n" };
    expect(memoryKills(machine({ ...v1, ...oom }))).toBe(5);
    expect(memoryKills(machine({}))).toBeNull();
    expect(residentBytes(77, machine(group))).toBe(1_887_436 * 1024);
    expect(residentBytes(78, machine(group))).toBeNull();
  });
});
