/**
 * Whether a configuration can work with its servers: its parts are built and connected as at the start of a run, and their capabilities
 * compared with what it asks. The embedded engine is not started; what it can do is known.
 */
import { createRegistry } from "../actors/parts/built-ins.js";
import type { EmbeddedSource } from "../actors/parts/lists/source.js";
import type { PartKind, Parts } from "../actors/parts/part-kinds.js";
import { assertCapabilities } from "../actors/run/capabilities.js";
import { samplerCount } from "../actors/run/sampler-engines.js";
import type { Config } from "../config/schema.js";
import type { PolicyStore } from "../contracts/policy-store.js";
import { ARTIFACT_KINDS } from "../contracts/published-policy.js";
import { WeirError } from "../errors.js";
import { engineFacade } from "../model/engine/facade.js";

/** Null where the configuration fits, else why not: the error that a run would end with at its start. */
export async function misfitOf(config: Config, signal: AbortSignal): Promise<WeirError | null> {
  const opened: Partial<Parts>[] = [];
  try {
    const registry = createRegistry(config, undefined, embeddedSource(config));
    const names = namesOf(config);
    const build = <K extends PartKind>(kind: K): Parts[K] => {
      const part = registry.build(kind, names);
      opened.unshift({ [kind]: part } as Partial<Parts>);
      return part;
    };
    const [trainer, sampler] = [build("trainer"), build("sampler")];
    const policyStore = config.policyStore.actor === "auto" ? ANY_STORE : build("policyStore");
    const [loss, guard] = [build("loss"), build("guard")];
    for (const part of [trainer, sampler, policyStore]) await part.connect?.({ signal });
    assertCapabilities(config, { trainer, sampler, policyStore, loss, guard });
    return null;
  } catch (error) {
    if (WeirError.isInstance(error)) return error;
    throw error;
  } finally {
    for (const part of opened.flatMap((record) => Object.values(record)))
      await (part as { dispose?(): Promise<void> | void }).dispose?.();
  }
}

/** Names of the parts that are compared. A guard of `auto` is one that fits the trainer. */
function namesOf({ sampler, trainer, policyStore, loss, guard }: Config): Partial<Record<PartKind, string>> {
  return {
    sampler: sampler.actor,
    trainer: trainer.actor,
    policyStore: policyStore.actor,
    loss: loss.algorithm,
    guard: guard.actor === "auto" ? "finite" : guard.actor,
  };
}

/** `auto` chooses the store by what trainer and sampler have in common. */
const ANY_STORE = {
  kind: "auto",
  specificationVersion: 1,
  capabilities: { holds: ARTIFACT_KINDS },
} as unknown as PolicyStore;

/** The parts of an engine that is never started. */
function embeddedSource(config: Config): EmbeddedSource {
  const notStarted = () => Promise.reject(new WeirError("WEIR_E_STATE", "this engine is not started", {}));
  const parameters = 1;
  const engine = engineFacade({
    info: {
      backend: "tensorflow",
      reason: "",
      executor: "compiled",
      executorReason: "",
      precision: config.engine.precision,
      backendVersion: "",
      pid: 0,
    },
    model: {
      family: "",
      parameters,
      trainedParameters: config.model.lora === null ? parameters : 0,
      vocabSize: 0,
      maxPositions: 0,
      stopIds: [],
      padId: 0,
    },
    version: () => ({ n: 0, sha256: "" }),
    call: notStarted,
    exited: new Promise(() => undefined),
    close: async () => undefined,
  });
  const { capabilities } = engine.sampler;
  // Engines that only sample are processes of their own, which no handle reaches.
  const apart = { ...capabilities, adopts: capabilities.adopts.filter((kind) => kind !== "handle") };
  return {
    parts: () => engine,
    samplers: samplerCount(config) > 0 ? { ...engine.sampler, capabilities: apart } : null,
    judge: { start: notStarted, memoryGiB: null },
    policyPlace: () => {
      throw new WeirError("WEIR_E_STATE", "no run keeps policies here", {});
    },
  };
}
