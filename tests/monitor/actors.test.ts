/** The supervision tree on its way to whoever watches: hub, wire, client, Prometheus, past runs. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type ActorTree, connectMonitor } from "../../monitor/client/index.js";
import { LIMITS } from "../../monitor/protocol/limits.js";
import { actorTreeSchema } from "../../monitor/protocol/records.js";
import { MonitorHub, type RunningMonitor, replayRun, startMonitor } from "../../monitor/server/index.js";
import type { ActorState } from "../../src/contracts/actor-status.js";
import { RunFolder } from "../../src/store/index.js";
import { actor } from "../helpers/actors.js";
import { factOf, STARTED } from "../helpers/facts.js";
import { awaited, cuttableSockets, hastyClock, RawClient } from "./support.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function serve(hub: MonitorHub): Promise<RunningMonitor> {
  const monitor = await startMonitor({ source: hub });
  cleanups.push(() => monitor.close());
  return monitor;
}

const changed = (seq: number, name: string, state: ActorState, reason: string | null, restarts = 1) =>
  factOf(seq, ["actor.changed", 0, { actor: name, state, reason, restarts }]);

/** The tree that a hub would send now; null before the first. */
function treeOf(hub: MonitorHub): ActorTree | null {
  hub.settle();
  return (hub.channel("actors").entries().at(-1)?.data as ActorTree | undefined) ?? null;
}

describe("the supervision tree in the hub", () => {
  it("is one value: an actor that is gone is not in the next one, and nothing new is nothing sent", () => {
    const hub = new MonitorHub({ clock: () => 5 });
    expect(treeOf(hub)).toBeNull();
    hub.publishActors([actor("rollout"), actor("sampler-1", { parent: "rollout" })], null);
    hub.publishActors([actor("rollout", { state: "draining" })], { bound: 2, tokens: [4, 0, 1] });
    expect(treeOf(hub)).toEqual({
      actors: [actor("rollout", { state: "draining" })],
      lag: { bound: 2, tokens: [4, 0, 1] },
      changes: [],
      time: 5,
    });
    treeOf(hub);
    expect(hub.channel("actors").seq).toBe(1);
  });

  it("carries the newest restarts and failures, each with the state before it", () => {
    const hub = new MonitorHub();
    hub.publishFact(changed(1, "sampler-2", "restarting", "killed"));
    hub.publishFact(changed(2, "reward", "failed", "out of attempts", 3));
    hub.publishFact(changed(3, "sampler-2", "running", null));
    expect(treeOf(hub)?.changes).toEqual([
      { actor: "sampler-2", from: null, state: "restarting", reason: "killed", restarts: 1, time: 10_001 },
      { actor: "reward", from: null, state: "failed", reason: "out of attempts", restarts: 3, time: 10_002 },
      { actor: "sampler-2", from: "restarting", state: "running", reason: null, restarts: 1, time: 10_003 },
    ]);
    for (let i = 1; i <= 100; i++) hub.publishFact(changed(3 + i, `sampler-${i}`, "restarting", "killed"));
    const names = treeOf(hub)?.changes.map((change) => change.actor);
    expect(names).toHaveLength(LIMITS.actorChanges);
    expect([names?.[0], names?.at(-1)]).toEqual(["sampler-81", "sampler-100"]);
  });

  it("fits into a message however many actors there are, and shows no secret", () => {
    const hub = new MonitorHub();
    hub.secrets.add("sk-very-secret");
    const detail = `the judge answered 401 to sk-very-secret ${"x".repeat(1_000)}`;
    hub.publishActors(
      Array.from({ length: 5_000 }, (_, i) => actor(`sampler-${i}`, i === 0 ? { state: "failed", detail } : {})),
      null,
    );
    hub.publishFact(changed(1, "sampler-0", "failed", detail));
    const tree = treeOf(hub);
    expect(tree?.actors).toHaveLength(LIMITS.actors);
    expect(JSON.stringify(tree)).not.toContain("secret");
    expect(tree?.actors[0]?.detail).toMatch(/^the judge answered 401 to •••/);
    expect(tree?.changes[0]?.reason).toHaveLength(300);
    expect(hub.channel("actors").heldBytes).toBeLessThan(LIMITS.messageBytes);
  });

  it("of a past run holds what the journal says of its actors, and no tree", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-actors-"));
    cleanups.push(() => rm(root, { recursive: true, force: true }));
    const folder = await RunFolder.create({ root, id: "r1", seed: 7, config: {}, dataset: {} });
    folder.append("run.started", 0, STARTED);
    folder.append("actor.changed", 3, { actor: "engine", state: "restarting", reason: "killed", restarts: 1 });
    folder.append("actor.changed", 3, { actor: "engine", state: "running", reason: null, restarts: 1 });
    await folder.close();
    expect(treeOf(await replayRun(folder.directory))).toMatchObject({
      actors: [],
      lag: null,
      changes: [
        { actor: "engine", from: null, state: "restarting", reason: "killed" },
        { actor: "engine", from: "restarting", state: "running" },
      ],
    });
  });

  it("of a run before actors were told of is not there, and the channel answers all the same", async () => {
    const hub = new MonitorHub();
    hub.publishFact(factOf(1, ["run.started", 0, STARTED]));
    const client = await RawClient.open(await serve(hub));
    client.subscribe("actors");
    const snapshot = await client.next("snapshot", (message) => message.channel === "actors");
    expect(snapshot.items).toEqual([]);
  });
});

describe("the supervision tree on the wire", () => {
  it("comes with the subscription, then conflated: of 5,000 readings only the last one", async () => {
    const hub = new MonitorHub();
    hub.publishActors([actor("reward", { handled: 7 })], { bound: 4, tokens: [1, 2, 3, 4, 5] });
    const client = await RawClient.open(await serve(hub));
    client.subscribe("actors");
    await client.next("snapshot", (message) => message.last);
    for (let handled = 1; handled <= 5_000; handled++) hub.publishActors([actor("reward", { handled })], null);
    await client.next("delta");
    const trees = client.items("actors").map((item) => actorTreeSchema.parse(item));
    expect(trees.map(({ actors, lag }) => [actors[0]?.handled, lag?.tokens.length ?? null])).toEqual([
      [7, 5],
      [5_000, null],
    ]);
  });

  it("reaches a program through the client, and again after the line was cut", async () => {
    const hub = new MonitorHub();
    hub.publishActors([actor("sampler-1", { state: "running" })], null);
    const sockets = cuttableSockets();
    const told = awaited();
    const states: string[] = [];
    const client = connectMonitor((await serve(hub)).url, { WebSocket: sockets.Constructor, clock: hastyClock });
    cleanups.push(() => client.close());
    client.subscribe("actors", (event) => {
      if (event.kind === "gap") throw new Error("the tree must have no gaps");
      for (const { actors, lag } of event.items) states.push(`${actors[0]?.state} ${lag?.bound ?? "no lag"}`);
      told.poke();
    });
    await told.until(() => states.length === 1);
    sockets.cut();
    hub.publishActors([actor("sampler-1", { state: "restarting" })], { bound: 1, tokens: [3] });
    await told.until(() => states.length === 2);
    expect(states).toEqual(["running no lag", "restarting 1"]);
  });
});

describe("the supervision tree in Prometheus", () => {
  it("has a series per actor and state, counters of work and restarts, and tokens by lag", async () => {
    const hub = new MonitorHub();
    hub.publishActors(
      [
        actor("reward", { state: "waitingForRoom", workers: 8, busy: 8, handled: 40, dropped: 2 }),
        actor("sampler-1", { state: "restarting", restarts: 3 }),
      ],
      { bound: 2, tokens: [30, 12, 0] },
    );
    const text = await (await fetch(new URL("/metrics", (await serve(hub)).url))).text();
    const lines = text.split("\n").filter((line) => /^weir_(actor|lag)/.test(line));
    expect(lines).toEqual(
      expect.arrayContaining([
        'weir_actor_state{actor="reward",state="waitingForRoom"} 1',
        'weir_actor_state{actor="reward",state="running"} 0',
        'weir_actor_state{actor="sampler-1",state="restarting"} 1',
        'weir_actor_workers{actor="reward"} 8',
        'weir_actor_busy{actor="reward"} 8',
        'weir_actor_handled_total{actor="reward"} 40',
        'weir_actor_dropped_total{actor="reward"} 2',
        'weir_actor_restarts_total{actor="sampler-1"} 3',
        "weir_lag_bound 2",
        'weir_lag_tokens{lag="1"} 12',
      ]),
    );
    expect(lines.filter((line) => line.startsWith("weir_actor_state") && line.endsWith(" 1"))).toHaveLength(2);
    expect(text).toContain("# TYPE weir_actor_restarts_total counter");
  });
});
