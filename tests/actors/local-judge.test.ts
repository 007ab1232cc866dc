import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createLocalJudge, type LocalJudgeOptions } from "../../src/actors/judge/local-judge.js";
import { createRegistry } from "../../src/actors/parts/built-ins.js";
import { judgeMemory } from "../../src/actors/run/sampler-engines.js";
import { parseConfig } from "../../src/config/load.js";
import type { Engine, EngineOptions } from "../../src/contracts/engine.js";
import type { JudgeQuery } from "../../src/contracts/judge.js";
import type { SampleRequest } from "../../src/contracts/sampler.js";
import { WeirError } from "../../src/errors.js";
import { loadTokenizer, type Tokenizer } from "../../src/model/io/tokenizer.js";
import { judgePrompt } from "../../src/rewards/judge/prompt.js";
import { ReplyCache } from "../../src/rewards/judge/reply-cache.js";
import { createFakeEngine, describeJudge } from "../../src/testing.js";
import { FIXTURES } from "../helpers/fixtures.js";

const MODEL = join(FIXTURES, "models", "tiny-llama");
const folder = mkdtempSync(join(tmpdir(), "weir-judge-"));
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(MODEL);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const opened: { dispose?(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.dispose?.();
});

type Fake = ReturnType<typeof createFakeEngine>;
type Sample = Engine["sampler"]["sample"];

/** A model that says NO where the prompt holds "Lyon", else YES, and what each of its calls was. */
function judging(says = (prompt: string): string => (prompt.includes("Lyon") ? "[[NO]]" : "[[YES]]")) {
  const calls: SampleRequest[] = [];
  const made: Fake[] = [];
  const options: EngineOptions[] = [];
  /** In the place of the fake's own answers, in order of the calls. */
  const instead: ((sample: Sample, engine: Fake) => Sample)[] = [];
  const start = async (_: string, given: EngineOptions): Promise<Engine> => {
    const engine = createFakeEngine({
      respond: (ids) => [...tokenizer.encode(says(tokenizer.decode(ids))), tokenizer.endOfTurn?.id as number],
    });
    made.push(engine);
    options.push(given);
    const own = engine.sampler.sample;
    const sample: Sample = (request, signal) => {
      calls.push(request);
      const other = instead.shift();
      return (other === undefined ? own : other(own, engine))(request, signal);
    };
    return { ...engine, sampler: { ...engine.sampler, sample } };
  };
  return { calls, made, options, instead, start };
}

const ENGINE = { memoryGiB: null, precision: "float32" } as EngineOptions;

function judgeOf(given: Partial<LocalJudgeOptions> = {}, model = judging()) {
  const judge = createLocalJudge({
    path: MODEL,
    mode: "paper",
    prompt: judgePrompt({ mode: "paper", template: null, maxPredictionChars: 8_000 }),
    cache: null,
    groupTimeoutMs: 60_000,
    maxTokens: 64,
    concurrency: 4,
    timeoutMs: 60_000,
    engine: ENGINE,
    restartDelayMs: 0,
    start: model.start,
    ...given,
  });
  opened.push(judge);
  return { judge, model };
}

const about = (prediction: string): JudgeQuery => ({ problem: "Which city?", prediction, gold: "Paris" });
const live = () => ({ signal: new AbortController().signal });

describe("the local judge", () => {
  it("answers greedily through the folder's chat template, with what it took", async () => {
    const { judge, model } = judgeOf();
    expect(await judge.ask(about("Lyon"), live())).toEqual({
      kind: "verdict",
      value: 0,
      reply: "[[NO]]",
      use: {
        requests: 1,
        seconds: expect.any(Number),
        promptTokens: expect.any(Number),
        completionTokens: tokenizer.encode("[[NO]]").length + 1,
        cached: false,
      },
    });
    expect(await judge.ask(about("Paris"), live())).toMatchObject({ value: 1, reply: "[[YES]]" });
    const [{ params, prompts, policy, deadlineMs } = {} as SampleRequest] = model.calls;
    expect(params).toMatchObject({ temperature: 0, topP: 1, maxTokens: 64 });
    expect(params.stopIds).toContain(tokenizer.endOfTurn?.id);
    expect([policy, deadlineMs]).toEqual([null, 60_000]);
    const text = tokenizer.decode(prompts[0]?.promptIds ?? []);
    expect(text).toMatch(
      /^<\|im_start\|>system\nYou check whether.*Problem:.*Which city\?.*<\|im_start\|>assistant\n/s,
    );
  });

  it("answers those that wait together in calls of at most `concurrency`, each its own", async () => {
    const { judge, model } = judgeOf();
    await judge.connect?.(live());
    const predictions = ["Paris", "Lyon", "Lutetia", "Lyon!", "Paris, France", "Lyon or so", "P.", "Q."];
    const verdicts = await Promise.all(predictions.map((prediction) => judge.ask(about(prediction), live())));
    expect(verdicts.map((verdict) => verdict.kind === "verdict" && verdict.value)).toEqual([1, 0, 1, 0, 1, 0, 1, 1]);
    expect(model.calls.map(({ prompts }) => prompts.length)).toEqual([4, 4]);
  });

  it("answers conversations of the caller's own", async () => {
    const { judge } = judgeOf(
      {},
      judging(() => "Two."),
    );
    const messages = [{ role: "user", content: "How many?" }] as const;
    expect(await judge.chat?.(messages, { ...live(), maxTokens: 16 })).toMatchObject({ kind: "reply", text: "Two." });
  });

  it("puts the system message before the user's where the template knows none", async () => {
    const path = join(folder, "no-system");
    cpSync(MODEL, path, { recursive: true });
    writeFileSync(
      join(path, "chat_template.jinja"),
      "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" +
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}" +
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    );
    const { judge, model } = judgeOf({ path });
    expect(await judge.ask(about("Paris"), live())).toMatchObject({ value: 1 });
    const text = tokenizer.decode(model.calls[0]?.prompts[0]?.promptIds ?? []);
    expect(text).toMatch(/^<\|im_start\|>user\nYou check whether.*\n\nProblem:/s);
  });

  it("gives no verdict for a reply that was cut, held none, or did not fit: failed, not 0", async () => {
    const unsure = judgeOf(
      {},
      judging(() => "It depends."),
    );
    expect(await unsure.judge.ask(about("x"), live())).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: expect.stringContaining("It depends."),
    });
    const endless = judgeOf(
      {},
      judging(() => "[[YES]] ".repeat(100)),
    );
    expect(await endless.judge.ask(about("x"), live())).toMatchObject({ kind: "failed" });
    const long = judgeOf({ maxTokens: 4_000 });
    expect(await long.judge.ask(about("x"), live())).toMatchObject({
      kind: "failed",
      reason: expect.stringMatching(/the judge's model has 4096 positions; lower reward\.judge/),
    });
    expect(long.model.calls).toEqual([]);
  });

  it("asks nothing twice, and anew of another model", async () => {
    const cache = () => new ReplyCache({ directory: join(folder, "cache"), maxBytes: 1 << 20 });
    const first = judgeOf({ cache: cache() });
    await first.judge.ask(about("Lyon"), live());
    expect(await first.judge.ask(about("Lyon"), live())).toMatchObject({
      value: 0,
      use: { cached: true, requests: 0 },
    });
    await first.judge.dispose?.();
    const second = judgeOf({ cache: cache() });
    expect(await second.judge.ask(about("Lyon"), live())).toMatchObject({ value: 0, use: { cached: true } });
    expect([first.model.calls.length, second.model.calls.length]).toEqual([1, 0]);
    const path = join(folder, "other");
    cpSync(MODEL, path, { recursive: true });
    writeFileSync(join(path, "generation_config.json"), "{}");
    const other = judgeOf({ path, cache: cache() });
    expect(await other.judge.ask(about("Lyon"), live())).toMatchObject({ value: 0, use: { cached: false } });
  });

  describe("under its contract", () => {
    describeJudge({
      create: () =>
        judgeOf(
          {},
          judging((prompt) =>
            /Answer 1: <data-\w+> Paris </.test(prompt.replace(/\s+/g, " ")) ? "[[YES]]" : "[[NO]]",
          ),
        ).judge,
      framework: { describe, it },
    });
  });
});

describe("the engine of a local judge", () => {
  const crash =
    (_: Sample, engine: Fake): Sample =>
    async () => {
      engine.crash("killed");
      throw new WeirError("WEIR_E_ENGINE_CRASHED", "the engine process ended during sample: killed");
    };

  it("that dies is replaced; meanwhile the judge is not ready, and the question is asked once more", async () => {
    const { judge, model } = judgeOf();
    await judge.connect?.(live());
    const states: boolean[] = [];
    judge.readiness?.onChange(({ ready }) => states.push(ready));
    model.instead.push(crash);
    expect(await judge.ask(about("Lyon"), live())).toMatchObject({ value: 0, use: { requests: 2 } });
    expect(states).toEqual([false, true]);
    expect(model.made.length).toBe(2);
  });

  it("that dies twice over a question fails it, and answers the next", async () => {
    const { judge, model } = judgeOf();
    model.instead.push(crash, crash);
    expect(await judge.ask(about("Lyon"), live())).toMatchObject({
      kind: "failed",
      reason: expect.stringContaining("killed"),
    });
    expect(await judge.ask(about("Lyon"), live())).toMatchObject({ value: 0 });
  });

  it("that cannot be started again is tried for as long as it is wanted", async () => {
    const model = judging();
    let failures = 0;
    const start: typeof model.start = (path, options) =>
      model.made.length === 1 && failures++ < 3
        ? Promise.reject(new WeirError("WEIR_E_ENGINE_CRASHED", "no memory"))
        : model.start(path, options);
    const { judge } = judgeOf({ start }, model);
    await judge.connect?.(live());
    model.instead.push(crash);
    const answered = judge.ask(about("Lyon"), live());
    const waiting = new Promise<string>((resolve) => {
      judge.readiness?.onChange((state) => {
        if (!state.ready) resolve(state.reason);
      });
    });
    expect(await waiting).toContain("the judge's engine process ended (killed)");
    expect(await answered).toMatchObject({ value: 0 });
    expect([failures, model.made.length, judge.readiness?.state()]).toEqual([4, 2, { ready: true }]);
  });

  it("is told to stop when all of a call have left, and they are answered at once", async () => {
    const { judge, model } = judgeOf();
    await judge.connect?.(live());
    let stopped = 0;
    const begun = new Promise<void>((resolve) => {
      model.instead.push(() => (_request, { signal }) => {
        resolve();
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            stopped++;
            reject(new WeirError("WEIR_E_ENGINE_ABORTED", "aborted"));
          }),
        );
      });
    });
    const [one, other] = [new AbortController(), new AbortController()];
    const asked = [judge.ask(about("a"), one), judge.ask(about("b"), other)];
    await begun;
    one.abort();
    expect(await asked[0]).toMatchObject({ kind: "failed", reason: "the question was cancelled" });
    expect(stopped).toBe(0);
    other.abort();
    expect(await asked[1]).toMatchObject({ kind: "failed", reason: "the question was cancelled" });
    expect(stopped).toBe(1);
    expect(await judge.ask(about("Lyon"), live())).toMatchObject({ value: 0 });
  });

  it("that is late times the question out: timedOut, not 0", async () => {
    const { judge, model } = judgeOf({ timeoutMs: 1_234 });
    model.instead.push(() => () => Promise.reject(new WeirError("WEIR_E_ENGINE_TIMEOUT", "late")));
    expect(await judge.ask(about("Lyon"), live())).toMatchObject({
      kind: "timedOut",
      afterMs: 1_234,
      reason: "the local judge gave no answer within 1234 ms (reward.judge.timeoutMs)",
    });
  });

  it("is not there for a folder without a model: refused when connecting, failed when asked", async () => {
    const { judge } = judgeOf({ path: join(folder, "nothing") });
    await expect(judge.connect?.(live())).rejects.toThrow(/nothing/);
    expect(await judge.ask(about("x"), live())).toMatchObject({ kind: "failed", code: "WEIR_E_JUDGE" });
  });

  it("is refused where its model does not fit its memory, with what to do", async () => {
    const { judge } = judgeOf({ engine: { ...ENGINE, memoryGiB: 0.1 } });
    await expect(judge.connect?.(live())).rejects.toThrow(
      /WEIR_E_CONFIG.*needs 0\.4\d GiB, its part of the memory is 0\.10 GiB; raise reward\.judge\.memoryGiB/,
    );
  });
});

describe("the local judge of a configuration", () => {
  const config = (reward: object, changes: object = {}) =>
    parseConfig({ model: { path: "m" }, data: { train: ["t"] }, reward: { actor: "hybrid", ...reward }, ...changes });
  const local = (judge: object = {}) => ({ judge: { actor: "local", path: MODEL, ...judge } });

  it("is built from its options, and needs a folder", async () => {
    const registry = createRegistry(config(local()));
    const judge = registry.build("judge", { judge: "local" });
    expect(judge.kind).toBe("local");
    opened.push(judge);
    const without = createRegistry(config({ judge: { actor: "local" } }));
    expect(() => without.build("judge", { judge: "local" })).toThrow(/WEIR_E_ACTOR_MISSING.*reward\.judge\.path/);
  });

  it("takes its part of the memory of all engine processes", () => {
    const engine = { memoryGiB: 12 };
    const memory = (reward: object, changes: object, trains = true) =>
      judgeMemory(config(reward, { engine, ...changes }), trains);
    expect(memory({}, {}), "no local judge").toEqual({ judge: null, rest: 12 });
    expect(memory({ ...local(), actor: "rule" }, {}), "none is asked").toEqual({ judge: null, rest: 12 });
    expect(memory(local(), {}), "one part, the trainer two").toEqual({ judge: 4, rest: 8 });
    expect(memory(local(), { rollout: { engines: 3 } })).toEqual({ judge: 2, rest: 10 });
    expect(memory(local({ memoryGiB: 5 }), {})).toEqual({ judge: 5, rest: 7 });
    expect(memory(local(), {}, false), "beside one sampler").toEqual({ judge: 6, rest: 6 });
    expect(memory(local(), { sampler: { actor: "mine" } }, false), "alone").toEqual({ judge: 12, rest: 0 });
    expect(() => memory(local({ memoryGiB: 12 }), {})).toThrow(
      /WEIR_E_CONFIG.*reward\.judge\.memoryGiB.*leaves nothing of the 12\.00 GiB/,
    );
  });
});
