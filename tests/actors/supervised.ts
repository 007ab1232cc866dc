import { Observable, type Subscriber } from "rxjs";
import { type AnyActorRef, createActor } from "xstate";
import { type PipelineEvent, pipelineMachine } from "../../src/actors/pipeline/pipeline-machine.js";
import type { StageChange } from "../../src/actors/pipeline/stage-machine.js";
import { StageFailure, type StageStatus, type SupervisedStage } from "../../src/streams/stage.js";
import { VirtualTime } from "../helpers/virtual-time.js";

/** A supervisor over stages that do what a test says, on virtual time. */

export interface ScriptedStage extends SupervisedStage {
  /** Subscriptions so far, and those that have not ended. */
  readonly started: () => number;
  readonly running$: () => number;
  fail(message: string, restartable?: boolean): void;
  complete(): void;
  set(status: Partial<StageStatus>): void;
}

export function scriptedStage(name: string): ScriptedStage {
  let present: Subscriber<never> | null = null;
  let started = 0;
  let open = 0;
  let status: StageStatus = {
    ...{ name, workers: 1, busy: 0, waitingForRoom: 0, handled: 0, dropped: 0, queue: name, ended: false },
  };
  return {
    name,
    mailbox: null,
    running: new Observable<never>((subscriber) => {
      present = subscriber;
      started++;
      open++;
      return () => {
        open--;
      };
    }),
    settled: async () => undefined,
    status: () => status,
    started: () => started,
    running$: () => open,
    fail: (message, restartable = true) => present?.error(new StageFailure(name, new Error(message), restartable)),
    complete: () => present?.complete(),
    set: (change) => {
      status = { ...status, ...change };
    },
  };
}

export function supervise(stages: readonly SupervisedStage[], maxRestarts = 3) {
  const time = new VirtualTime();
  const changes: StageChange[] = [];
  const failures: unknown[] = [];
  const supervisor = createActor(pipelineMachine, {
    clock: {
      setTimeout: (callback: () => void, ms: number) => time.set(callback, ms),
      clearTimeout: (handle: unknown) => time.clear(handle),
    },
    input: {
      maxRestarts,
      restartDelayMs: 100,
      attached: () => undefined,
      changed: (change) => changes.push(change),
      failed: (error) => failures.push(error),
    },
  });
  supervisor.start();
  const send = (event: PipelineEvent) => supervisor.send(event);
  send({ type: "START", stages });
  const child = (name: string) =>
    (supervisor.getSnapshot().children as Readonly<Record<string, AnyActorRef | undefined>>)[name];
  return {
    ...{ time, supervisor, changes, failures, send },
    state: (name: string): unknown => (child(name)?.getSnapshot() as { readonly value: unknown } | undefined)?.value,
    observe: (one: SupervisedStage) => child(one.name)?.send({ type: "OBSERVED", status: one.status() }),
    told: () => changes.map(({ stage, state, restarts }) => `${stage} ${state} ${restarts}`),
  };
}
