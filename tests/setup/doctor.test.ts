/** What the doctor concludes from what it finds, with scripted probes. */
import { describe, expect, it } from "vitest";
import { doctorExitCode, doctorRows } from "../../src/cli/commands/doctor.js";
import {
  type BackendProbe,
  type DoctorSources,
  isNodeSupported,
  probeInProcess,
  runDoctor,
} from "../../src/cli/doctor.js";
import { isTensorflowNoise } from "../../src/model/tensor/native/index.js";

const healthy: BackendProbe = {
  ok: true,
  version: "2.21.0",
  gpu: false,
  bf16: { ok: true },
  xla: { ok: true },
  kernels: { ok: true },
  gemm: { edge: 1024, f32: 200, bf16: 500 },
};
const wasm: BackendProbe = { ok: true, version: "4.22.0", gemm: { edge: 512, f32: 20 } };
const found = {
  found: true,
  path: "/engine",
  reason: "libtensorflow 2.21.0 (cpu) is set up",
  tensorflowVersion: "2.21.0",
  variant: "cpu" as const,
};
const missing = { found: false, path: null, reason: "none is set up", tensorflowVersion: null, variant: null };

const GIB = 1024 ** 3;

function sources(
  changes: Partial<DoctorSources> & { readonly probes?: Partial<Record<string, BackendProbe>> },
): DoctorSources {
  const probes: Partial<Record<string, BackendProbe>> = { tensorflow: healthy, wasm, ...changes.probes };
  return {
    env: {},
    nodeVersion: "v20.20.2",
    locate: () => found,
    probe: async (backend) => probes[backend] ?? { ok: false, reason: "not scripted" },
    gpuDevice: () => null,
    gpuFreeBytes: () => null,
    memory: () => ({ machineBytes: 8 * GIB, limit: null, totalBytes: 8 * GIB, freeBytes: 5 * GIB }),
    ...changes,
  };
}

describe("the doctor", () => {
  it("finds a healthy native engine, its speed and no problem", async () => {
    const report = await runDoctor(sources({ env: { TF_NUM_INTRAOP_THREADS: "3" } }));
    expect(report).toMatchObject({
      backend: "tensorflow",
      tensorflow: { version: "2.21.0", variant: "cpu", path: "/engine" },
      bf16: { ok: true },
      xla: { ok: true },
      kernels: { ok: true },
      gpu: { ok: false, device: null },
      threads: { count: 3, source: "TF_NUM_INTRAOP_THREADS is set" },
      gemm: { edge: 1024, f32: 200, bf16: 500 },
      problems: [],
    });
    expect(report.choices.map(({ what }) => what)).toEqual([
      "backend",
      "libtensorflow",
      "device",
      "kernels",
      "memory",
      "threads",
      "precision",
    ]);
    expect(report.choices.at(-1)?.why).toContain("bf16 products run 2.5 times as fast here");
    expect(doctorExitCode(report)).toBe(0);
  });

  it("falls to wasm where no engine is set up, says why, and calls that healthy", async () => {
    const report = await runDoctor(sources({ locate: () => missing }));
    expect(report.backend).toBe("wasm");
    expect(report.choices[0]).toEqual({ what: "backend", chosen: "wasm", why: "none is set up" });
    expect(report.bf16).toEqual({ ok: false, reason: "bf16 needs the tensorflow backend; in use: wasm" });
    expect(report.gemm).toEqual({ edge: 512, f32: 20, bf16: null });
    expect(report.threads.count).toBe(1);
    expect(doctorExitCode(report)).toBe(0);
  });

  it("says why the kernels are left out, and calls that healthy", async () => {
    const kernels = { ok: false, reason: "the kernels are switched off by WEIR_KERNELS=off" };
    const report = await runDoctor(sources({ probes: { tensorflow: { ...healthy, kernels } } }));
    const choice = report.choices.find(({ what }) => what === "kernels");
    expect(choice).toEqual({ what: "kernels", chosen: "none", why: kernels.reason });
    expect(doctorExitCode(report)).toBe(0);
  });

  it("says of a GPU whether graphs run on it, and says nothing of that without one", async () => {
    const graphs = async (probe: BackendProbe) =>
      (await runDoctor(sources({ probes: { tensorflow: probe }, gpuDevice: () => "a GPU, 580" }))).choices.find(
        ({ what }) => what === "graphs",
      );
    const gpu = { ...healthy, gpu: true };
    expect(await graphs({ ...gpu, functions: { ok: true } })).toEqual({
      what: "graphs",
      chosen: "on the GPU",
      why: "the functions addon's probe succeeded",
    });
    expect(await graphs({ ...gpu, functions: { ok: false, reason: "no such symbol" } })).toEqual({
      what: "graphs",
      chosen: "none",
      why: "no such symbol",
    });
    expect(await graphs(healthy)).toBeUndefined();
  });

  it("plans for the GPU's memory where the engine computes on one", async () => {
    const found = async (probe: BackendProbe, free: number | null) =>
      (
        await runDoctor(
          sources({ probes: { tensorflow: probe }, gpuDevice: () => "a GPU, 580", gpuFreeBytes: () => free }),
        )
      ).choices.find(({ what }) => what === "memory")?.chosen;
    expect(await found({ ...healthy, gpu: true }, 100 * GIB)).toBe("80.0 GiB");
    expect(await found({ ...healthy, gpu: true }, null)).toBe("4.0 GiB");
    expect(await found(healthy, 100 * GIB)).toBe("4.0 GiB");
  });

  it("names a native engine that is set up and fails, and ends with 4", async () => {
    const report = await runDoctor(
      sources({ probes: { tensorflow: { ok: false, reason: "its probe process ended by SIGSEGV" } } }),
    );
    expect(report.backend).toBe("wasm");
    expect(report.problems).toEqual([
      "the native engine in /engine fails: its probe process ended by SIGSEGV; run `npm run weir -- setup --force`",
    ]);
    expect(doctorExitCode(report)).toBe(4);
  });

  it("ends with 4 where no backend computes", async () => {
    const report = await runDoctor(
      sources({ locate: () => missing, probes: { wasm: { ok: false, reason: "no SIMD" } } }),
    );
    expect(report.backend).toBeNull();
    expect(doctorExitCode(report)).toBe(4);
  });

  it("points at a GPU that lies idle and at a Node that is too old", async () => {
    const report = await runDoctor(sources({ gpuDevice: () => "NVIDIA H100, 550.54", nodeVersion: "v18.0.0" }));
    expect(report.problems).toEqual([
      "Node ^20.19.0 || >=22.12.0 is expected, this is v18.0.0",
      "a GPU is present but not used: the CPU build of TensorFlow is set up; run `npm run weir -- setup --gpu`",
    ]);
    expect(doctorExitCode(report)).toBe(1);
  });

  it("says which container limits the memory, and what an engine plans for", async () => {
    const limit = { bytes: 2 * GIB, file: "/sys/fs/cgroup/memory.max" };
    const memory = () => ({ machineBytes: 64 * GIB, limit, totalBytes: 2 * GIB, freeBytes: 1.5 * GIB });
    const report = await runDoctor(sources({ memory }));
    expect(report.machine).toMatchObject({ memoryBytes: 64 * GIB, memoryLimit: limit, freeBytes: 1.5 * GIB });
    const rows = new Map(doctorRows(report));
    expect(rows.get("memory limit")).toBe("2.0 GiB (/sys/fs/cgroup/memory.max)");
    expect(rows.get("memory free")).toBe("1.5 GiB");
    expect(report.choices.find(({ what }) => what === "memory")).toEqual({
      what: "memory",
      // 80 % of 1.5 GiB.
      chosen: "1.2 GiB",
      why: "80 % of the 1.5 GiB that are free (/sys/fs/cgroup/memory.max limits it to 2.0 GiB; the machine has 64.0 GiB)",
    });
  });

  it("prints one row for each finding", async () => {
    const rows = Object.fromEntries(doctorRows(await runDoctor(sources({}))));
    expect(rows["GEMM f32 1024³"]).toBe("200 GFLOP/s");
    expect(rows["GEMM bf16 1024³"]).toBe("500 GFLOP/s");
    expect(rows.GPU).toBe("no: no NVIDIA driver answers (nvidia-smi)");
  });
});

describe("a probe process", () => {
  it("measures the cpu backend for real", async () => {
    const probe = await probeInProcess("cpu", null, process.env);
    expect(probe).toMatchObject({ ok: true, version: "4.22.0" });
    expect(probe.gemm?.f32).toBeGreaterThan(0);
  });

  it("that cannot load its engine is a finding with a reason", async () => {
    const probe = await probeInProcess("tensorflow", "/nowhere", process.env);
    expect(probe.ok).toBe(false);
    expect(probe.reason).toContain("Cannot find module");
  });
});

describe("versions and chatter", () => {
  it("supports Node 20 from 20.19 on, and everything from 22.12 on", () => {
    const judged = [
      "v18.20.0",
      "v20.18.3",
      "v20.19.0",
      "v21.7.3",
      "v22.11.0",
      "v22.12.0",
      "v23.0.0",
      "v24.0.0",
      "v26.10.0",
    ].map(isNodeSupported);
    expect(judged).toEqual([false, false, true, false, false, true, true, true, true]);
  });

  it("knows TensorFlow's start-up chatter from news", () => {
    expect(
      isTensorflowNoise("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"),
    ).toBe(true);
    expect(isTensorflowNoise("I0000 00:00:1.2 1 port.cc:153] oneDNN custom operations are on. You may see")).toBe(true);
    expect(isTensorflowNoise("F0000 tensor.cc:1] Check failed: out of memory")).toBe(false);
  });
});
