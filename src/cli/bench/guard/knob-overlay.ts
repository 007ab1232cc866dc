/** Options of a running system that a fault changes: learning rate, temperature and entropy bonus, as the engine sees them. */
import type { Engine } from "../../../contracts/engine.js";
import type { PolicyLossConfig } from "../../../contracts/trainer.js";

export type KnobPath = "optimiser.learningRate" | "rollout.temperature" | "loss.entropyCoefficient";

export class KnobOverlay {
  private readonly values = new Map<KnobPath, number>();

  set(path: KnobPath, value: number): void {
    this.values.set(path, value);
  }

  clear(path: KnobPath): void {
    this.values.delete(path);
  }

  /** The engine, whose RL calls see the values that are set. */
  over(engine: Engine): Engine {
    const { sampler, trainer } = engine;
    const temperature = (given: number) => this.values.get("rollout.temperature") ?? given;
    const loss = (given: PolicyLossConfig): PolicyLossConfig => ({
      ...given,
      temperature: temperature(given.temperature),
      entropyCoefficient: this.values.get("loss.entropyCoefficient") ?? given.entropyCoefficient,
    });
    return {
      ...engine,
      sampler: {
        ...sampler,
        sample: (request, options) => {
          if (request.purpose !== "training") return sampler.sample(request, options);
          const params = { ...request.params, temperature: temperature(request.params.temperature) };
          return sampler.sample({ ...request, params }, options);
        },
      },
      trainer: {
        ...trainer,
        forwardBackward: (batch, options) =>
          trainer.forwardBackward({ ...batch, loss: loss(batch.loss) }, options),
        logprobs: (groups, options) =>
          trainer.logprobs(groups, { ...options, temperature: temperature(options.temperature) }),
        optimStep: (config, options) => {
          const learningRate = this.values.get("optimiser.learningRate") ?? config.learningRate;
          return trainer.optimStep({ ...config, learningRate }, options);
        },
      },
    };
  }
}
