/** The judge that a configuration describes. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createConfiguredJudge } from "../../src/actors/judge/configured-judge.js";
import { loadConfig } from "../../src/config/load.js";
import { JudgeServer, reply } from "../rewards/judge-server.js";

const query = { problem: "Which city?", prediction: "Lutetia", gold: "Paris" };
const live = () => ({ signal: new AbortController().signal });
const CONFIG = "model: { path: model }\ndata: { train: [tasks.jsonl] }\nphases: [{ maxTokens: 64, steps: 1 }]\n";

let folder = "";
let server: JudgeServer;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-judge-"));
  server = await JudgeServer.start(reply("The same.\n[[YES]]"));
});
afterEach(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function judgeOf(judge: string) {
  const file = join(folder, "config.yaml");
  await writeFile(file, `${CONFIG}reward: { judge: { url: "${server.url}", model: m, ${judge} } }\n`);
  return createConfiguredJudge((await loadConfig(file)).reward, 1);
}

describe("the judge that a configuration describes", () => {
  it("has its template and its folder of replies beside the configuration", async () => {
    await writeFile(join(folder, "prompt.txt"), "Be brief.\n---\nQ: {problem}\nA: {prediction}\nB: {gold}\n");
    const options = "template: prompt.txt, cache: { directory: replies }, maxTokens: 33";
    const judge = await judgeOf(options);
    expect(await judge.ask(query, live())).toMatchObject({ kind: "verdict", value: 1, use: { requests: 1 } });
    await judge.dispose?.();
    const [seen] = server.seen;
    if (seen === undefined) throw new Error("nothing was asked");
    const { messages, ...request } = seen.body;
    expect(request).toEqual({ model: "m", temperature: 0, n: 1, max_tokens: 33 });
    expect(messages[0]?.content).toMatch(/^Be brief\.\nEach text between <data-/);
    expect(messages[1]?.content).toMatch(/^Q: \n<data-[0-9a-f]{8}>\nWhich city\?\n/);
    expect(await readdir(join(folder, "replies"))).toHaveLength(1);
    const again = await judgeOf(options);
    expect(await again.ask(query, live())).toMatchObject({ kind: "verdict", value: 1, use: { cached: true } });
    expect(server.seen).toHaveLength(1);
    await again.dispose?.();
  });

  it("keeps replies in memory by default, and none where told so", async () => {
    for (const [cache, requests] of [
      ["{}", 1],
      ["{ maxBytes: 0 }", 2],
    ] as const) {
      const before = server.seen.length;
      const judge = await judgeOf(`cache: ${cache}`);
      for (const _ of [1, 2]) await judge.ask(query, live());
      expect(server.seen.length - before).toBe(requests);
      await judge.dispose?.();
    }
  });

  it("is refused where its template is not there, or holds no place for an answer", async () => {
    await expect(judgeOf("template: nowhere.txt")).rejects.toThrow(
      /WEIR_E_CONFIG.*reward\.judge\.template.*nowhere\.txt/,
    );
    await writeFile(join(folder, "prompt.txt"), "Compare {gold} with the answer.");
    await expect(judgeOf("template: prompt.txt")).rejects.toThrow(/WEIR_E_CONFIG.*\{prediction\}/);
  });

  it("is refused without a URL, with a share of failures that no window reaches, and with times that are none", async () => {
    const file = join(folder, "config.yaml");
    await writeFile(file, CONFIG);
    const { reward } = await loadConfig(file);
    expect(() => createConfiguredJudge(reward, 1)).toThrow(/WEIR_E_ACTOR_MISSING.*reward\.judge\.url/);
    await expect(judgeOf("breaker: { share: 1.5 }")).rejects.toThrow(/WEIR_E_CONFIG.*reward\.judge\.breaker\.share/);
    await expect(judgeOf("groupTimeoutMs: 0")).rejects.toThrow(/WEIR_E_CONFIG.*reward\.judge\.groupTimeoutMs/);
  });

  it("is made from the guide's configuration and its prompt", async () => {
    const { reward } = await loadConfig(resolve("examples/guides/judged.yaml"));
    expect(reward.judge.cache.directory).toBe(resolve("examples/guides/judge-replies"));
    const judge = createConfiguredJudge(reward, 1);
    expect(judge.kind).toBe("openai");
    await judge.dispose?.();
  });
});
