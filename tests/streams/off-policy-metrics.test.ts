import { describe, expect, it } from "vitest";
import { assertMetrics } from "../../src/streams/telemetry/metrics.js";
import { correctionFacts, lagFacts, offPolicyMetrics } from "../../src/streams/telemetry/off-policy-metrics.js";

describe("metrics of lag", () => {
  const lags = [[0, 0, 1], [1, 3], []];

  it("count tokens by lag and compare log-probs lag by lag", () => {
    const compared = [{ sampler: [-1, -2, -1], trainer: [-1, -1.5, -2], lags: [0, 0, 1] }];
    const values = offPolicyMetrics({ lag: lagFacts(lags, compared, 4), correction: null });
    expect(() => assertMetrics(values)).not.toThrow();
    expect(values).toEqual({
      "lag/mean": 1,
      "lag/max": 3,
      "lag/stale_share": 0.6,
      "lag/tokens_0": 2,
      "lag/tokens_1": 2,
      "lag/tokens_2": 0,
      "lag/tokens_3": 1,
      "lag/tokens_4": 0,
      // e^0.5 − 1.5 over two tokens of lag 0; e^−1 + 1 − 1 for the one of lag 1. Nothing was compared at lag 3.
      "kl/lag_0": expect.closeTo(0.1487212707 / 2, 9),
      "kl/lag_1": expect.closeTo(Math.exp(-1), 12),
    });
  });

  it("are absent for an update without tokens", () => {
    expect(offPolicyMetrics({ lag: lagFacts([], [], 2), correction: null })).toEqual({});
  });
});

describe("metrics of correction", () => {
  it("are of the weights that stay, and of all tokens for the shares", () => {
    const rows = [
      { weights: [2, 1], clipped: 1 },
      { weights: [0, 1], clipped: 0 },
    ];
    const values = offPolicyMetrics({ lag: null, correction: correctionFacts(rows, true) });
    expect(() => assertMetrics(values)).not.toThrow();
    expect(values).toEqual({
      "correction/weight_mean": expect.closeTo(4 / 3, 12),
      "correction/weight_max": 2,
      "correction/clipped_share": 0.25,
      "correction/rejected_share": 0.25,
      // (2 + 1 + 1)² / (4 · (4 + 1 + 1)) = 2/3
      "correction/effective_share": expect.closeTo(2 / 3, 12),
    });
  });

  it("have no mean weight where all are rejected, and no clipped share without importance weights", () => {
    expect(offPolicyMetrics({ lag: null, correction: correctionFacts([{ weights: [0], clipped: 0 }], false) })).toEqual(
      { "correction/effective_share": 0, "correction/rejected_share": 1 },
    );
    expect(correctionFacts([], true)).toBeNull();
  });
});
