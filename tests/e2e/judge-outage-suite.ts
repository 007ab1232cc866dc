/** A judge that is away in the middle of a run: training holds, goes on by itself, and ends with the weights of a run without the outage. */
import { describe, expect, it } from "vitest";
import type { EngineFactory } from "../../src/actors/run/engine-supervisor.js";
import { createTrainingSystem, type TrainingSystem } from "../../src/actors/run/training-system.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { RewardActor, RewardOutcome } from "../../src/contracts/reward.js";
import { SwitchedReadiness } from "../helpers/readiness.js";
import { comparableFacts, endStates, parityReward, tinyConfig } from "./tiny-run.js";

const PATIENCE_MS = 240_000;

/** Scores as `parityReward` does; from the second response of a step on its judge is away until somebody says otherwise. */
class JudgedReward implements RewardActor {
  readonly kind = "judged";
  readonly specificationVersion = 1;
  readonly readiness = new SwitchedReadiness();
  /** Outcomes that were given while the judge was away. */
  failures = 0;
  /** Rollouts that were scored while it was away: there must be none. */
  given = 0;
  private gone = false;

  constructor(
    /** RL step at whose second response the judge goes away; null: never. */
    private readonly step: number | null,
    private readonly onAway: () => void = () => undefined,
  ) {}

  async handle(...[input, options]: Parameters<RewardActor["handle"]>): Promise<RewardOutcome> {
    if (!this.readiness.state().ready) this.given++;
    const { groupId, sampleIndex } = input.rollout;
    if (!this.gone && groupId.startsWith(`s${this.step}-`) && sampleIndex === 1) {
      this.gone = true;
      this.readiness.away("connection refused; tried again every 10 s");
      this.onAway();
    }
    if (this.readiness.state().ready) return parityReward.handle(input, options);
    this.failures++;
    return this.failures % 2 === 0
      ? { kind: "failed", code: "WEIR_E_JUDGE", reason: "connection refused" }
      : { kind: "timedOut", afterMs: 10, reason: "no answer" };
  }
}

const shaOf = async (system: TrainingSystem) =>
  ((await system.done).report as { policy: { sha256: string } }).policy.sha256;

/** What the outage adds to a journal. */
const OF_OUTAGE: ReadonlySet<string> = new Set(["admission.held", "admission.resumed", "alert.raised", "alert.ended"]);

/** What holds for runs on any engine; weir's own where none is given. */
export function describeOutage(engine?: EngineFactory): void {
  const actors = (reward: RewardActor) => ({ reward, ...(engine ? { engine } : {}) });

  async function run(reward: RewardActor) {
    const system = createTrainingSystem(await tinyConfig(), { actors: actors(reward) });
    const facts: Fact[] = [];
    system.facts$.subscribe((fact) => facts.push(fact));
    await system.start();
    return { system, facts };
  }

  describe("a judge that is away in mid-run", () => {
    it(
      "holds training without turning anything into a number, and the run ends as one without the outage (I1, I2, I11)",
      async () => {
        const calm = await run(new JudgedReward(null));
        const expected = await shaOf(calm.system);
        const { runDirectory: calmDirectory } = await calm.system.done;

        let whenAway: () => void = () => undefined;
        const away = new Promise<void>((resolve) => {
          whenAway = resolve;
        });
        const reward = new JudgedReward(3, whenAway);
        const { system, facts } = await run(reward);
        const told = { held: 0 };
        const stood = new Promise<void>((resolve) => {
          system.gauges$.subscribe(() => {
            if (told.held === 0 && facts.some(({ type }) => type === "admission.held")) {
              told.held = facts.length;
              resolve();
            }
          });
        });
        await away;
        await stood;
        const before = facts.length;
        // The gauges of an idle run are read twice a second: for three readings nothing of the run happens.
        let readings = 0;
        await new Promise<void>((resolve) => {
          system.gauges$.subscribe(() => ++readings === 3 && resolve());
        });
        expect(facts.length).toBe(before);
        expect(system.state.lifecycle).toBe("training");
        reward.readiness.back();
        expect(await shaOf(system)).toBe(expected);

        expect(reward.failures).toBeGreaterThan(0);
        expect(reward.given).toBeLessThan(reward.failures);
        const { runDirectory } = await system.done;
        expect(await endStates(runDirectory)).toEqual(await endStates(calmDirectory));
        const comparable = async (directory: string) =>
          (await comparableFacts(directory)).filter((fact) => !OF_OUTAGE.has((fact as Fact).type));
        const withoutSeq = (of: unknown[]) => of.map((fact) => ({ ...(fact as object), seq: 0 }));
        expect(withoutSeq(await comparable(runDirectory))).toEqual(withoutSeq(await comparable(calmDirectory)));

        const [held] = facts.filter((fact): fact is Fact<"admission.held"> => fact.type === "admission.held");
        expect(held?.data).toEqual({
          part: "judged",
          code: "WEIR_E_JUDGE",
          reason: "connection refused; tried again every 10 s",
        });
        const [resumed] = facts.filter((fact): fact is Fact<"admission.resumed"> => fact.type === "admission.resumed");
        expect(resumed?.data.heldSeconds).toBeGreaterThan(0.5);
        const raised = facts.flatMap((fact) => (fact.type === "alert.raised" ? [fact.data.alert] : []));
        const [alert] = raised.filter(({ rule }) => rule === "reward_away");
        expect(alert?.text).toMatch(
          /goes on by itself: the reward "judged" takes no work \(WEIR_E_JUDGE\): connection/,
        );
        const ended = facts.flatMap((fact) => (fact.type === "alert.ended" ? [fact.data.id] : []));
        expect(ended).toContain(alert?.id);
        const third = facts.find(
          (fact) => fact.type === "metrics.recorded" && fact.step === 3,
        ) as Fact<"metrics.recorded">;
        expect(third.data.values["time/held_seconds"]).toBeGreaterThan(0.5);
      },
      PATIENCE_MS,
    );

    it(
      "does not keep a run that is told to stop, which goes on from its last checkpoint",
      async () => {
        const reward = new JudgedReward(3, () => void system.stop());
        const config = await tinyConfig();
        const system = createTrainingSystem(config, { actors: actors(reward) });
        await system.start();
        const { status, runDirectory } = await system.done;
        expect(status).toBe("stopped");
        await endStates(runDirectory);
        const resumed = createTrainingSystem(config, { actors: actors(new JudgedReward(null)), resume: runDirectory });
        await resumed.start();
        const calm = await run(new JudgedReward(null));
        expect(await shaOf(resumed)).toBe(await shaOf(calm.system));
      },
      PATIENCE_MS,
    );
  });

  describe("a judge that answers nothing for one group", () => {
    it(
      "has the group drawn again as another attempt, and nothing of the first one enters training",
      async () => {
        let chosen: string | null = null;
        const failing: RewardActor = {
          ...parityReward,
          handle: async (input, options) => {
            const { groupId } = input.rollout;
            if (groupId.startsWith("s2-")) chosen ??= groupId;
            return groupId === chosen
              ? { kind: "failed", code: "WEIR_E_JUDGE", reason: "no verdict" }
              : parityReward.handle(input, options);
          },
        };
        const { system, facts } = await run(failing);
        const { runDirectory } = await system.done;
        const ends = await endStates(runDirectory);
        const first = [...ends].filter(([id]) => id.startsWith(`${chosen}-`)).map(([, end]) => end);
        expect(first).toEqual(Array.from({ length: 4 }, () => "dropped:reward_failed"));
        const second = facts.find(
          (fact) => fact.type === "metrics.recorded" && fact.step === 2,
        ) as Fact<"metrics.recorded">;
        expect(second.data.values["group/unviable_share"]).toBeGreaterThan(0);
      },
      PATIENCE_MS,
    );
  });
}
