import type { EngineFactory } from "../../actors/run/engine-supervisor.js";
import type { Engine } from "../../contracts/engine.js";
import { startEngine } from "../../model/engine/host.js";

/** weir's own engine with parts of it wrapped, as benchmarks watch or break them. */
export function wrappedEngine(wrap: (engine: Engine) => Partial<Pick<Engine, "sampler" | "trainer">>): EngineFactory {
  return async (modelDir, options, signal) => {
    const engine = await startEngine({ modelDir, options, ...(signal ? { signal } : {}) });
    return { ...engine, ...wrap(engine) };
  };
}
