/** Knobs, alarms, verdicts and rollbacks as a past run's channel and as Prometheus metrics. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { KnobBoard } from "../../monitor/protocol/index.js";
import { MonitorHub, openReplay } from "../../monitor/server/index.js";
import { prometheusText } from "../../monitor/server/prometheus.js";
import { RunFolder } from "../../src/store/index.js";
import { factOf, STARTED, type Told } from "../helpers/facts.js";
import { alert } from "./support.js";

const OPERATOR = { kind: "operator", name: "page at ::1" } as const;

const turn = (step: number, old: number, now: number): Told => [
  "knob.turned",
  step,
  { path: "optimiser.learningRate", old, new: now, by: OPERATOR, reason: "slow" },
];

const boardOf = (hub: MonitorHub): KnobBoard => {
  hub.settle();
  return hub.channel("knobs").entries().at(-1)?.data as KnobBoard;
};

const sampleOf = (hub: MonitorHub, name: string) =>
  prometheusText(hub, { clients: 0, droppedByChannel: new Map() })
    .split("\n")
    .filter((line) => line.startsWith(name));

describe("the channel of knobs", () => {
  it("shows a past run's knobs as its journal left them, with every turn", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-knobs-"));
    const config = { model: { path: "m" }, data: { train: ["t.jsonl"] }, optimiser: { learningRate: 1e-3 } };
    const folder = await RunFolder.create({ root, id: "r", seed: 1, config, dataset: {} });
    folder.append("run.started", 0, STARTED);
    for (const [step, old, now] of [
      [2, 1e-3, 5e-4],
      [4, 5e-4, 2e-4],
    ] as const)
      folder.append("knob.turned", step, {
        path: "optimiser.learningRate",
        old,
        new: now,
        by: OPERATOR,
        reason: "slow",
      });
    await folder.close();
    const { hub } = await openReplay(folder.directory);
    const { knobs, turns, turnCount } = boardOf(hub);
    expect(knobs.find(({ path }) => path === "optimiser.learningRate")).toMatchObject({
      value: 2e-4,
      configured: 1e-3,
    });
    expect(turns.map(({ step, old, new: now, by, reason }) => [step, old, now, by.name, reason])).toEqual([
      [2, 1e-3, 5e-4, "page at ::1", "slow"],
      [4, 5e-4, 2e-4, "page at ::1", "slow"],
    ]);
    expect(turnCount).toBe(2);
  });

  it("lists a turn once that a resumed run makes again, and a hundred at most", () => {
    const hub = new MonitorHub();
    for (const seq of [1, 2]) hub.publishFact(factOf(seq, turn(2, 1, 2)));
    expect(boardOf(hub)).toMatchObject({ turnCount: 1, turns: [{ step: 2, new: 2 }] });
    for (let step = 3; step <= 120; step++) hub.publishFact(factOf(step, turn(step, step - 1, step)));
    const { turns, turnCount } = boardOf(hub);
    expect([turns.length, turns[0]?.step, turns.at(-1)?.step, turnCount]).toEqual([100, 21, 120, 119]);
  });
});

describe("/metrics", () => {
  it("counts alarms and says which last, counts verdicts, rollbacks and turns, and gives the knobs' values", () => {
    const hub = new MonitorHub();
    let seq = 0;
    const tell = (...told: readonly Told[]) => {
      for (const one of told) hub.publishFact(factOf(++seq, one));
    };
    const first = { ...alert(3), id: "a", rule: "kl_limit", level: "error" as const };
    const second = { ...first, id: "b", step: 5 };
    hub.publishKnobs([
      {
        ...{ path: "optimiser.learningRate", value: 1e-3, configured: 1e-3, min: 0, max: 1, integer: false, unit: "" },
        meaning: "Rate.",
      },
      { path: "loss.clipLow", value: null, configured: null, min: 0, max: 1, integer: false, unit: "", meaning: "ε." },
    ]);
    tell(
      ["alert.raised", 3, { alert: first }],
      ["alert.raised", 5, { alert: second }],
      ["alert.ended", 6, { id: "a", rule: "kl_limit", metric: first.metric, fromStep: 3, toStep: 5, worst: 1 }],
      [
        "run.rolledBack",
        4,
        {
          ...{ fromStep: 5, toStep: 4, reason: "KL", rule: "kl_limit", undone: 8, count: 1 },
          by: { kind: "guard", name: "kl_limit" },
        },
      ],
      turn(5, 1e-3, 5e-4),
    );
    for (const verdict of ["skip", "skip", "rollback"] as const)
      tell([
        "guard.judged",
        5,
        {
          ...{ stage: "rl", miniBatch: 0, verdict, reason: "KL", rule: "kl_limit" },
          ...{ scale: null, kl: null, gradNorm: 1, loss: 0 },
        },
      ]);
    expect(sampleOf(hub, "weir_alarms_active{")).toEqual(['weir_alarms_active{rule="kl_limit",level="error"} 1']);
    expect(sampleOf(hub, "weir_alarms_total{")).toEqual(['weir_alarms_total{rule="kl_limit",level="error"} 2']);
    expect(sampleOf(hub, "weir_guard_verdicts_total{")).toEqual([
      'weir_guard_verdicts_total{verdict="skip"} 2',
      'weir_guard_verdicts_total{verdict="rollback"} 1',
    ]);
    expect(sampleOf(hub, "weir_rollbacks_total{")).toEqual(['weir_rollbacks_total{by="guard"} 1']);
    expect(sampleOf(hub, "weir_knob{")).toEqual(['weir_knob{knob="optimiser.learningRate"} 0.0005']);
    expect(sampleOf(hub, "weir_knob_turns_total{")).toEqual([
      'weir_knob_turns_total{knob="optimiser.learningRate",by="operator"} 1',
    ]);
    // What came after the checkpoint is repeated after a resume: the alarm of step 5 does not last any more.
    tell(["run.resumed", 4, { reason: "by hand", checkpoint: null, step: 4, remarks: [] }]);
    expect(sampleOf(hub, "weir_alarms_active{")).toEqual(['weir_alarms_active{rule="kl_limit",level="error"} 0']);
  });
});
