/** `weir-rl/monitor`: watch and steer a run from a program. */
export type { ActorState, ActorStatus, LagStatus } from "../../src/contracts/actor-status.js";
export type { Initiator, KnobState, KnobTurn } from "../../src/contracts/knob.js";
export type { ChannelName, CommandName, StreamChannel } from "../protocol/limits.js";
export type { CommandArgs, Role } from "../protocol/messages.js";
export type {
  ActorChange,
  ActorTree,
  ComparedRun,
  Evaluation,
  GroupMember,
  GuardEvent,
  KnobBoard,
  ListedTurn,
  LogLine,
  MachineState,
  MetricBlock,
  PhaseBand,
  PipelineGauge,
  RunConfig,
  RunInfo,
  StateDefinition,
  TracePart,
  TraceSummary,
} from "../protocol/records.js";
export {
  type Ack,
  type CommandOptions,
  type ConnectOptions,
  connectMonitor,
  type Effect,
  type MonitorClient,
  type SentCommand,
  type SubscribeOptions,
  type Welcome,
} from "./connect.js";
export type { ChannelEvent, ItemOf } from "./events.js";
export type { ClientClock, SocketConstructor } from "./socket.js";
export type { ConnectionState } from "./state.js";
