/** A run whose rewards come from a judge over HTTP: nine in ten of its answers are faulty, and it is away for a while. */
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { counterKey } from "../../src/algorithms/random.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { Judge } from "../../src/contracts/judge.js";
import type { RewardActor, RewardOutcome } from "../../src/contracts/reward.js";
import { ordealJudge, startFaultyServer } from "../rewards/judge-ordeal.js";
import { JudgeServer, reply } from "../rewards/judge-server.js";
import { endStates, parityOf, tinyConfig } from "./tiny-run.js";

/** s; the acceptance of the judge asks for 60. */
const OUTAGE = Number(process.env.WEIR_JUDGE_OUTAGE ?? 20);
const PATIENCE_MS = 900_000;

/** Asks the judge about "answer n", which is right where n is even, so that the reward of a rollout is the parity of its tokens. */
class JudgedParity implements RewardActor {
  readonly kind = "judged";
  readonly specificationVersion = 1;
  readonly outcomes: { readonly kind: string; readonly given: number | null; readonly right: number }[] = [];

  constructor(private readonly judge: Judge) {}

  get readiness() {
    return this.judge.readiness as NonNullable<Judge["readiness"]>;
  }

  async handle(...[{ rollout }, { signal }]: Parameters<RewardActor["handle"]>): Promise<RewardOutcome> {
    const right = parityOf(rollout);
    const id = counterKey(1, "judged", rollout.id) % 1_000_000;
    const query = { problem: "Which answer?", prediction: `answer ${2 * id + (1 - right)}\n`, gold: "the gold" };
    const verdict = await this.judge.ask(query, { signal, group: rollout.groupId });
    this.outcomes.push({ kind: verdict.kind, given: verdict.kind === "verdict" ? verdict.value : null, right });
    if (verdict.kind !== "verdict") return verdict.use ? { ...verdict, judge: verdict.use } : verdict;
    return { kind: "scored", value: verdict.value, parts: { judge: verdict.value }, prediction: null };
  }

  dispose() {
    return this.judge.dispose?.();
  }
}

async function trained(judge: Judge, during?: (facts: readonly Fact[]) => Promise<void>) {
  const reward = new JudgedParity(judge);
  const system = createTrainingSystem(await tinyConfig(), { actors: { reward } });
  const facts: Fact[] = [];
  system.facts$.subscribe((fact) => facts.push(fact));
  await system.start();
  await during?.(facts);
  const { status, report, runDirectory } = await system.done;
  const { sha256 } = (report as { policy: { sha256: string } }).policy;
  return { status, sha256, facts, reward, ends: await endStates(runDirectory) };
}

const typesOf = (facts: readonly Fact[], type: Fact["type"]) => facts.filter((fact) => fact.type === type);

describe("a run that a judge scores over HTTP", () => {
  it(
    "makes no number of a fault, while nine in ten answers are faulty (I1)",
    async () => {
      const { server } = await startFaultyServer();
      const { status, reward, ends } = await trained(ordealJudge(server.url));
      expect(status).toBe("completed");
      const numbers = reward.outcomes.filter(({ given }) => given !== null);
      expect(numbers.length).toBeGreaterThan(20);
      expect(numbers.filter(({ given, right }) => given !== right)).toEqual([]);
      expect(reward.outcomes.length).toBeGreaterThan(numbers.length);
      expect(ends.size).toBeGreaterThan(0);
      process.stdout.write(
        `${reward.outcomes.length} questions, ${numbers.length} verdicts, ${server.seen.length} requests\n`,
      );
      await server.stop();
    },
    PATIENCE_MS,
  );

  it(
    "holds while the judge is away, goes on by itself, and ends with the weights of a run without the outage",
    async () => {
      let away = false;
      const server = await JudgeServer.start((response, request) => {
        if (away) {
          response.destroy();
          return;
        }
        const n = Number(/answer (\d+)\n/.exec(request.body.messages.at(-1)?.content ?? "")?.[1]);
        reply(n % 2 === 0 ? "[[YES]]" : "[[NO]]")(response, request);
      });
      const judge = () =>
        ordealJudge(server.url, { retries: 2, breaker: { window: 10, failures: 4, share: 0.5, openMs: 1_000 } });
      const calm = await trained(judge());
      const disturbed = await trained(judge(), async (facts) => {
        while (!facts.some(({ type, step }) => type === "step.committed" && step === 2)) await wait(20);
        away = true;
        await wait(OUTAGE * 1_000);
        away = false;
      });
      expect(disturbed.status).toBe("completed");
      expect(disturbed.sha256).toBe(calm.sha256);
      expect(disturbed.ends).toEqual(calm.ends);
      const [held, resumed] = [
        typesOf(disturbed.facts, "admission.held"),
        typesOf(disturbed.facts, "admission.resumed"),
      ];
      expect(held.length).toBeGreaterThan(0);
      expect(resumed).toHaveLength(held.length);
      const faults = disturbed.reward.outcomes.filter(({ given }) => given === null).length;
      expect(disturbed.reward.outcomes.filter(({ given, right }) => given !== null && given !== right)).toEqual([]);
      process.stdout.write(`${faults} questions without a verdict, ${held.length} holds in an outage of ${OUTAGE} s\n`);
      await server.stop();
    },
    PATIENCE_MS,
  );
});
