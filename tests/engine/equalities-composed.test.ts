/** The equalities on compiled graphs of TensorFlow's own operations: what runs where weir's kernels cannot be compiled. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadKernels } from "../../src/model/tensor/native/index.js";
import { FAST_BACKEND } from "../helpers/engines.js";
import { describeEqualities } from "./equalities-suite.js";

const before = process.env.WEIR_KERNELS;

describe.runIf(FAST_BACKEND === "tensorflow")("compiled without kernels", () => {
  beforeAll(() => {
    process.env.WEIR_KERNELS = "off";
  });
  afterAll(() => {
    if (before === undefined) delete process.env.WEIR_KERNELS;
    else process.env.WEIR_KERNELS = before;
  });
  describeEqualities({ backend: "tensorflow", threads: 0, executor: "compiled" });

  it("has no kernels", () => {
    expect(loadKernels()).toMatchObject({ loaded: false, reason: expect.stringContaining("WEIR_KERNELS=off") });
  });
});
