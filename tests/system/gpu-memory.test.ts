/** Free memory of the GPU, from scripted answers of the driver. */
import { describe, expect, it } from "vitest";
import { type AskDriver, freeGpuBytes } from "../../src/system/gpu-memory.js";

describe("free memory of the GPU", () => {
  const asked: (readonly string[])[] = [];
  const answering =
    (text: string | null): AskDriver =>
    (args) => {
      asked.push(args);
      return text;
    };

  it("is that of the first GPU that this process may use", () => {
    expect(freeGpuBytes({}, answering("81079\n40000\n"))).toBe(81079 * 1024 ** 2);
    expect(freeGpuBytes({ CUDA_VISIBLE_DEVICES: "3,1" }, answering("512\n"))).toBe(512 * 1024 ** 2);
    const query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits"];
    expect(asked.slice(-2)).toEqual([query, ["-i", "3", ...query]]);
  });

  it("is unknown where the driver does not answer, or not with a number", () => {
    expect(freeGpuBytes({}, answering(null))).toBeNull();
    expect(freeGpuBytes({}, answering("[N/A]\n"))).toBeNull();
  });
});
