import { describe, expect, it } from "vitest";
import { assertCountingJudge, countByJudge } from "../../src/actors/reward/behaviour-counts.js";
import type { Judge, JudgeReply } from "../../src/contracts/judge.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import { realTime } from "../../src/system/time.js";

const rollout = (id: string, text: string) => ({ id, groupId: "g", text }) as Rollout;

function judgeOf(answer: (text: string, signal: AbortSignal) => Promise<JudgeReply>, ready = true) {
  const asked: string[] = [];
  const judge: Judge = {
    kind: "fake",
    specificationVersion: 1,
    ask: () => Promise.reject(new Error("not asked for verdicts")),
    chat(messages, { signal }) {
      const text = messages.at(-1)?.content ?? "";
      asked.push(text);
      return answer(text, signal);
    },
    readiness: {
      state: () => (ready ? { ready: true } : { ready: false, code: "WEIR_E_JUDGE", reason: "away", forMs: 1 }),
      onChange: () => () => undefined,
    },
  };
  return { judge, asked };
}

const TWO = '{"grounding": 2, "subgoal_setting": 0, "backtracking": 0, "verification": 0}';
const options = { share: 1, seed: 1, timeoutMs: 60_000, signal: new AbortController().signal, timers: realTime };
const rollouts = [
  rollout("a", "The document says 3."),
  rollout("b", "So it is 3.<|im_end|>"),
  rollout("c", "The text says 4. Wait, no."),
];

describe("behaviours that a judge counts", () => {
  it("come from the responses that it answered for; what failed is told and is no count", async () => {
    const { judge } = judgeOf(async (text) => {
      if (text.includes("says 3")) return { kind: "reply", text: TWO };
      if (text.includes("says 4")) throw new Error("broken");
      return { kind: "failed", code: "WEIR_E_JUDGE", reason: "no" };
    });
    const { counts, values } = await countByJudge(judge, rollouts, options);
    expect([...counts]).toEqual([["a", JSON.parse(TWO)]]);
    expect(values).toMatchObject({
      "behaviour/judge_failed_share": expect.closeTo(2 / 3, 12),
      "behaviour/judged_grounding_per_response": 2,
      "behaviour/grounding_agreement": 1,
    });
  });

  it("are asked for in a share of the responses, the same ones each time, without end-of-turn text", async () => {
    const many = Array.from({ length: 400 }, (_, i) => rollout(`r${i}`, `Response ${i}<|im_end|>`));
    const first = judgeOf(async () => ({ kind: "reply", text: TWO }));
    const second = judgeOf(async () => ({ kind: "reply", text: TWO }));
    await countByJudge(first.judge, many, { ...options, share: 0.25 });
    await countByJudge(second.judge, many, { ...options, share: 0.25 });
    expect(first.asked.length).toBeGreaterThan(70);
    expect(first.asked.length).toBeLessThan(130);
    expect(second.asked).toEqual(first.asked);
    expect(first.asked[0]).not.toContain("im_end");
  });

  it("are not waited for beyond the deadline, and a later answer is left out", async () => {
    const late: (() => void)[] = [];
    const { judge } = judgeOf((text) =>
      text.includes("says 3")
        ? Promise.resolve({ kind: "reply", text: TWO })
        : new Promise((resolve) => late.push(() => resolve({ kind: "reply", text: TWO }))),
    );
    let fire = () => {};
    const timers = { set: (callback: () => void) => (fire = callback), clear: () => undefined };
    const counting = countByJudge(judge, rollouts, { ...options, timers });
    await new Promise(setImmediate);
    fire();
    const { counts } = await counting;
    for (const answer of late) answer();
    await new Promise(setImmediate);
    expect([...counts.keys()]).toEqual(["a"]);
  });

  it("are not asked for while the judge is not ready", async () => {
    const { judge, asked } = judgeOf(async () => ({ kind: "reply", text: TWO }), false);
    const { counts, values } = await countByJudge(judge, rollouts, options);
    expect([asked, counts.size, values]).toEqual([[], 0, { "behaviour/judge_failed_share": 1 }]);
  });

  it("end with the signal", async () => {
    const controller = new AbortController();
    const { judge } = judgeOf(() => new Promise(() => undefined));
    const counting = countByJudge(judge, rollouts, { ...options, signal: controller.signal });
    controller.abort(new Error("stopped"));
    await expect(counting).rejects.toThrow("stopped");
  });

  it("need a judge that answers other questions than for verdicts", () => {
    const { chat: _, ...mute } = judgeOf(async () => ({ kind: "reply", text: TWO })).judge;
    expect(() => assertCountingJudge(null)).toThrow(/WEIR_E_CONFIG.*the reward asks no judge.*reward.actor = hybrid/);
    expect(() => assertCountingJudge(mute)).toThrow(/the judge "fake" has no chat\(\)/);
  });
});
