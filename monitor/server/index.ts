/** The monitor's server side: a hub to publish into, a server over it, and past runs from their folders. */
export { type HubOptions, MonitorHub } from "./hub.js";
export { describeMachine, stateName } from "./machine.js";
export { openReplay, type Replay, replayRun } from "./replay.js";
export { announceMonitor, findMonitor } from "./run-file.js";
export { type MonitorOptions, type RunningMonitor, startMonitor } from "./server.js";
export type {
  CommandAnswer,
  CommandEffect,
  CommandHandler,
  GaugeReading,
  MachineReading,
  MonitorCommand,
  MonitorSource,
} from "./source.js";
