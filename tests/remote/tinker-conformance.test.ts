/** Trainer and sampler of Tinker-compatible servers against their contracts' suites, on a small server with real arithmetic. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { createTinkerSampler } from "../../src/remote/tinker/sampler.js";
import { ServerLink } from "../../src/remote/tinker/server-link.js";
import { createTinkerTrainer } from "../../src/remote/tinker/trainer.js";
import { realTime } from "../../src/system/time.js";
import { describeSampler, describeTrainer } from "../../src/testing.js";
import { writeRandomModel } from "../helpers/engines.js";
import { FakeTinker } from "./fake-tinker.js";
import { SESSION_LORA } from "./tinker-session.js";

const framework = { describe, it };
const LORA = { ...SESSION_LORA, rank: 8 };
const CASES = [
  { scale: "row-mean", wire: "protobuf" },
  { scale: "sum", wire: "json" },
] as const;

describe.each(CASES)("a server of $scale losses that speaks $wire", (options) => {
  const server = new FakeTinker(options);
  let folder: string;
  let url: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "weir-tinker-"));
    await writeRandomModel(folder);
    url = await server.start();
    const signal = new AbortController().signal;
    policy.artifact = (await (await trainer()).publish({ signal, as: "handle", folder: null })).artifact;
  });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });
  const connection = () => ({ url, apiKey: "tml-key", patienceMs: 1_000, deadlineMs: 10_000, time: realTime });
  const trainer = async (link = new ServerLink()) => {
    const part = createTinkerTrainer({
      ...connection(),
      baseModel: null,
      modelDir: folder,
      lora: LORA,
      lossScale: "auto",
      link,
    });
    await part.connect?.({ signal: new AbortController().signal });
    return part;
  };
  describeTrainer({ framework, create: () => trainer() });

  const policy: { -readonly [K in keyof PublishedPolicy]: PublishedPolicy[K] } = {
    version: { n: 0, sha256: "" },
    artifact: { kind: "handle", uri: "" },
    bytes: 0,
  };
  describeSampler({
    framework,
    policy,
    create: async () => {
      const part = createTinkerSampler({ ...connection(), link: new ServerLink() });
      await part.connect?.({ signal: new AbortController().signal });
      return part;
    },
  });
});
