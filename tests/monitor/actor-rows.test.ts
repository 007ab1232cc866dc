import { describe, expect, it } from "vitest";
import { actorRows, changeRows, lagRows, STATE_TEXT, STATE_TONE } from "../../monitor/web/actor-rows.js";
import { ACTOR_STATES } from "../../src/contracts/actor-status.js";
import { actor } from "../helpers/actors.js";

const none: ReadonlyMap<string, boolean> = new Map();
const shown = (...given: Parameters<typeof actorRows>) =>
  actorRows(...given).map(({ actor: { name }, depth }) => `${"  ".repeat(depth)}${name}`);

describe("the supervision tree as rows", () => {
  it("lists each actor under its supervisor, in the order given, whatever the order of parents and children", () => {
    const actors = [
      actor("sampler-1", { parent: "rollout" }),
      actor("engine"),
      actor("rollout"),
      actor("sampler-2", { parent: "rollout" }),
      actor("run", { parent: null }),
      actor("reward"),
    ];
    expect(shown(actors, none)).toEqual(["run", "  engine", "  rollout", "    sampler-1", "    sampler-2", "  reward"]);
  });

  it("leaves no actor out: one without a known supervisor is a root, and so is a circle", () => {
    const actors = [actor("lost", { parent: "nobody" }), actor("a", { parent: "b" }), actor("b", { parent: "a" })];
    expect(shown(actors, none)).toEqual(["lost", "a", "  b"]);
    expect(actorRows([], none)).toEqual([]);
  });

  it("closes a branch of more than eight, says what it hides, and follows the reader's choice", () => {
    const samplers = (count: number) => [
      actor("run", { parent: null }),
      actor("rollout"),
      ...Array.from({ length: count }, (_, i) =>
        actor(`s${i}`, { parent: "rollout", state: i === 0 ? "failed" : i < 3 ? "restarting" : "running" }),
      ),
    ];
    expect(actorRows(samplers(8), none)).toHaveLength(10);
    const [run, rollout, ...rest] = actorRows(samplers(9), none);
    expect(rest).toEqual([]);
    expect(run).toMatchObject({ open: true, children: 0, hidden: "" });
    expect(rollout).toMatchObject({ open: false, children: 9, hidden: "9 actors, 1 failed, 2 restarting" });
    expect(actorRows(samplers(9), new Map([["rollout", true]]))).toHaveLength(11);
    expect(actorRows(samplers(1), new Map([["rollout", false]]))[1]).toMatchObject({ hidden: "1 actor, 1 failed" });
  });

  it("has words for every state, and a tone", () => {
    expect(new Set(ACTOR_STATES.map((state) => STATE_TEXT[state])).size).toBe(ACTOR_STATES.length);
    expect(ACTOR_STATES.filter((state) => STATE_TONE[state] === "bad")).toEqual(["failed"]);
  });
});

describe("the lags of a batch as rows", () => {
  it("has one for each lag up to the bound, with its part of the tokens", () => {
    expect(lagRows({ bound: 2, tokens: [30, 10] })).toEqual([
      { lag: 0, tokens: 30, share: 0.75, beyond: false },
      { lag: 1, tokens: 10, share: 0.25, beyond: false },
      { lag: 2, tokens: 0, share: 0, beyond: false },
    ]);
  });

  it("shows tokens beyond the bound as such, and an empty batch without dividing by nothing", () => {
    expect(lagRows({ bound: 0, tokens: [1, 0, 1, 0] }).map(({ lag, beyond }) => [lag, beyond])).toEqual([
      [0, false],
      [1, true],
      [2, true],
    ]);
    expect(lagRows({ bound: 1, tokens: [0, 0] }).map(({ share }) => share)).toEqual([0, 0]);
  });
});

describe("changes of actors", () => {
  const change = { restarts: 0, time: 1, reason: null };

  it("are told newest first, with the state before and after", () => {
    const rows = changeRows([
      { ...change, actor: "reward", from: null, state: "restarting", reason: "WEIR_E_REWARD: broken" },
      { ...change, actor: "reward", from: "restarting", state: "failed", reason: "WEIR_E_REWARD: broken" },
    ]);
    expect(rows.map(({ from, to, tone, reason }) => [from, to, tone, reason])).toEqual([
      ["restarting", "failed", "bad", "WEIR_E_REWARD: broken"],
      [null, "restarting", "warn", "WEIR_E_REWARD: broken"],
    ]);
  });

  it("call a stage that a rollback has ended rolled back, then and when it runs again", () => {
    const reason = "WEIR_E_ROLLBACK: the guard rejected step 3: kl_limit";
    const rows = changeRows([
      { ...change, actor: "update", from: "running", state: "failed", reason },
      { ...change, actor: "update", from: "failed", state: "running" },
      { ...change, actor: "update", from: "running", state: "failed", reason: "WEIR_E_ENGINE_CRASH: gone" },
      { ...change, actor: "update", from: "failed", state: "running" },
    ]);
    expect(rows.map(({ from, to, tone }) => [from, to, tone])).toEqual([
      ["failed", "running", "good"],
      ["running", "failed", "bad"],
      ["rolled back", "running", "good"],
      ["running", "rolled back", "warn"],
    ]);
    expect(rows.at(-1)?.reason).toBe("the guard rejected step 3: kl_limit");
  });
});
