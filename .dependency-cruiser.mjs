/**
 * Which folder may import which, checked by dependency-cruiser (`npm run check:imports`): imports point one way and no file
 * is part of a circle. A folder that has no rule here is reported.
 */

const SHARED = ["src/contracts", "src/errors", "src/printable", "src/config", "src/system"];
const PURE = [...SHARED, "src/algorithms"];
const MODEL = ["io", "tensor", "transformer", "activations", "train", "decode", "engine"].map(
  (floor) => `src/model/${floor}`,
);
const ACTORS = [
  "advantage",
  "reward",
  "judge",
  "filter",
  "guard",
  "update",
  "rollout",
  "evaluation",
  "curriculum",
  "parts",
  "pipeline",
  "worker",
  "run",
].map((actor) => `src/actors/${actor}`);
const MIDDLE = ["src/data", "src/rewards", "src/benchmarks", "src/store", "src/losses", "src/streams", ...MODEL];
const MONITOR = ["monitor/protocol", "monitor/server", "monitor/client"];
const EVERYTHING = [
  ...PURE,
  ...MIDDLE,
  ...ACTORS,
  "src/remote",
  "src/simulation",
  "src/testing",
  "src/index",
  ...MONITOR,
];

/** Floors of src/model, each on those before it; `train` and `decode` meet in the activation cache only. */
const below = (...floors) => [...PURE, "src/losses", ...floors.map((floor) => `src/model/${floor}`)];

/** What each folder may import besides itself. */
const RULES = {
  // The names of metrics are a type of their registry, which imports nothing but errors.
  "src/contracts": ["src/streams/telemetry/metrics"],
  "src/errors": [],
  "src/printable": [],
  "src/system": ["src/errors", "src/contracts"],
  "src/algorithms": ["src/contracts", "src/errors"],
  "src/config": ["src/contracts", "src/errors", "src/algorithms"],
  "src/losses": ["src/contracts", "src/errors", "src/algorithms"],
  "src/data": PURE,
  "src/rewards": PURE,
  "src/benchmarks": [...PURE, "src/data", "src/rewards"],
  "src/store": PURE,
  "src/model/io": PURE,
  "src/model/tensor": PURE,
  "src/model/transformer": below("io", "tensor"),
  "src/model/activations": below("io", "tensor", "transformer"),
  "src/model/train": below("io", "tensor", "transformer", "activations"),
  "src/model/decode": below("io", "tensor", "transformer", "activations"),
  "src/model/engine": below("io", "tensor", "transformer", "activations", "train", "decode"),
  "src/streams/telemetry": [...PURE, "src/losses", "src/streams"],
  "src/streams": PURE,
  "src/actors/advantage": PURE,
  "src/actors/reward": [...PURE, "src/rewards", "src/streams"],
  // The local judge is a model of its own in an engine process.
  "src/actors/judge": [...PURE, "src/rewards", ...["io", "transformer", "engine"].map((floor) => `src/model/${floor}`)],
  "src/actors/filter": PURE,
  "src/actors/guard": [...PURE, "src/streams"],
  "src/actors/update": [...PURE, "src/losses", "src/streams", "src/actors/guard"],
  "src/actors/rollout": [...PURE, "src/streams"],
  "src/actors/evaluation": [...PURE, "src/streams", "src/data", "src/store"],
  "src/actors/curriculum": [...PURE, "src/streams"],
  // Samplers, trainers and stores on other machines, each in a folder of its own behind a contract.
  // Of the model: its files, and what checks and names sequences, weights and adapters without computing.
  "src/remote": [
    ...PURE,
    "src/store",
    "src/losses",
    "src/model/io",
    ...["token-ids", "adapter-names", "content-hash"].map((file) => `src/model/transformer/${file}`),
    "src/model/train/validate",
  ],
  "src/actors/parts": [
    "src/remote",
    ...PURE,
    "src/losses",
    "src/streams",
    "src/store",
    "src/benchmarks",
    ...["advantage", "reward", "judge", "curriculum", "filter", "guard"].map((actor) => `src/actors/${actor}`),
  ],
  "src/actors/pipeline": [
    ...PURE,
    "src/losses",
    "src/streams",
    ...["update", "parts"].map((actor) => `src/actors/${actor}`),
  ],
  "src/actors/worker": [...PURE, "src/streams", "src/actors/parts"],
  "src/actors/run": [...PURE, ...MIDDLE, ...ACTORS, "monitor/protocol", "monitor/server"],
  // The control plane over scripted parts and a run folder in memory.
  "src/simulation": [...PURE, ...MIDDLE, ...ACTORS],
  "src/testing": EVERYTHING,
  "src/index": EVERYTHING,
  "src/cli": [...EVERYTHING, "src/remote", "monitor/web"],
  "monitor/protocol": ["src/contracts"],
  "monitor/server": [...SHARED, "src/store", "src/streams", "monitor/protocol"],
  "monitor/client": ["src/contracts", "src/errors", "monitor/protocol"],
  // The registry of metrics is data without code: names and units are the wire's vocabulary.
  "monitor/web": ["src/contracts", "src/streams/telemetry/metrics", "monitor/protocol", "monitor/client"],
};

const inside = (folder) => `^${folder}(/|\\.tsx?$)`;
const FOLDERS = Object.keys(RULES);
/** Folders below this one that have a rule of their own. */
const nested = (folder) => FOLDERS.filter((other) => other.startsWith(`${folder}/`)).map(inside);

const oneWay = FOLDERS.map((folder) => ({
  name: `${folder} imports only what it may`,
  severity: "error",
  from: { path: inside(folder), ...(nested(folder).length > 0 ? { pathNot: nested(folder) } : {}) },
  to: {
    path: "^(src|monitor)/",
    pathNot: [folder, ...RULES[folder]].map(inside),
  },
}));

export default {
  forbidden: [
    ...oneWay,
    {
      name: "every folder has a rule",
      severity: "error",
      from: { path: "^(src|monitor)/", pathNot: [...FOLDERS.map(inside), "^src/main", "vite\\.config"] },
      to: {},
    },
    { name: "no circles", severity: "error", from: { path: "^(src|monitor)/" }, to: { circular: true } },
    {
      name: "every import is found",
      severity: "error",
      from: { path: "^(src|monitor)/" },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      extensions: [".ts", ".tsx", ".js", ".mjs"],
      exportsFields: ["exports"],
      conditionNames: ["import", "types"],
    },
  },
};
