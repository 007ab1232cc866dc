#include "attention/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "core/prefetch.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// Keys per step, rows per step, vectors of rows whose scores are taken together, and vectors of dimensions whose
// mixtures are: their sums fit the registers.
constexpr int kKeys = 6, kRows = 6;
#if defined(__AVX512F__)
constexpr int kAcross = 4, kMixed = 4;
#else
constexpr int kAcross = 2, kMixed = 2;
#endif
// Keys that are scored, weighed and mixed before the next ones: they, their values and their scores stay in the caches
// near the core.
constexpr int64_t kChunk = 12 * kKeys;

// Memory that is read later, fetched in equal parts meanwhile.
class FetchAhead {
 public:
  template <class T>
  FetchAhead(const T* from, int64_t count, int64_t parts)
      : at_(reinterpret_cast<const char*>(from)), each_((count * int64_t(sizeof(T)) + parts - 1) / parts) {}

  void part() {
    fetchLines<Use::kReadLater>(at_, each_);
    at_ += each_;
  }

 private:
  const char* at_;
  int64_t each_;
};

// x·cos + rotate_half(x)·sin.
void rotate(const float* x, const float* cos, const float* sin, int64_t dh, float* y) {
  const int64_t half = dh / 2;
  for (int64_t i = 0; i < half; ++i) {
    y[i] = x[i] * cos[i] - x[i + half] * sin[i];
    y[i + half] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
  }
}

// Scores of N keys against rows that lie across the lanes: s[j][rows] = Σ_d k[j][d] · q[d][rows].
template <int N, int V, class T>
void scoreKeys(const T* keys, int64_t dh, const float* q, int64_t stride, float* s) {
  Floats sum[N][V] = {};
  for (int64_t d = 0; d < dh; ++d) {
    Floats row[V];
    for (int v = 0; v < V; ++v) row[v] = load(q + d * stride + v * kFloats);
    for (int i = 0; i < N; ++i) {
      const Floats k = splat(toFloat(keys[i * dh + d]));
      for (int v = 0; v < V; ++v) sum[i][v] += k * row[v];
    }
  }
  for (int i = 0; i < N; ++i)
    for (int v = 0; v < V; ++v) store(s + i * stride + v * kFloats, sum[i][v]);
}

#if defined(__AVX512BF16__)
// The same with pairs of dimensions in bfloat16; q holds the pairs [dh / 2][rows].
template <int N, int V>
void scoreKeys(const bfloat16* keys, int64_t dh, const uint32_t* q, int64_t stride, float* s) {
  __m512 sum[N][V];
  for (int i = 0; i < N; ++i)
    for (int v = 0; v < V; ++v) sum[i][v] = _mm512_setzero_ps();
  for (int64_t d = 0; d < dh / 2; ++d) {
    __m512bh row[V];
    for (int v = 0; v < V; ++v) row[v] = (__m512bh)_mm512_loadu_si512(q + d * stride + v * 16);
    for (int i = 0; i < N; ++i) {
      int32_t pair;
      std::memcpy(&pair, keys + i * dh + 2 * d, sizeof pair);
      const __m512bh k = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < V; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], k, row[v]);
    }
  }
  for (int i = 0; i < N; ++i)
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(s + i * stride + v * 16, sum[i][v]);
}
#endif

// Scores of all keys of a chunk. The last step takes some of the one before again rather than be a small one.
template <int V, class T, class Q>
void scoresAcross(const T* keys, int64_t count, int64_t dh, const Q* q, int64_t stride, float* s, FetchAhead& ahead) {
  if (count < kKeys) {
    for (int64_t j = 0; j < count; ++j) scoreKeys<1, V>(keys + j * dh, dh, q, stride, s + j * stride);
    return;
  }
  for (int64_t j = 0; j < count; j += kKeys) {
    const int64_t from = std::min(j, count - kKeys);
    ahead.part();
    scoreKeys<kKeys, V>(keys + from * dh, dh, q, stride, s + from * stride);
  }
}

// o[rows][dh] += Σ_j p[row][j] · v[j] for R rows with the dimensions across the lanes. Weights of two rows lie `perRow`
// apart, of two keys `perKey`.
template <int R, class T>
void mixRows(const T* values, int64_t count, int64_t dh, const float* p, int64_t perRow, int64_t perKey, float* o,
             FetchAhead& ahead) {
  int64_t d = 0;
  for (; d + kMixed * kFloats <= dh; d += kMixed * kFloats) {
    ahead.part();
    Floats sum[R][kMixed];
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kMixed; ++i) sum[r][i] = load(o + r * dh + d + i * kFloats);
    for (int64_t j = 0; j < count; ++j) {
      Floats v[kMixed];
      for (int i = 0; i < kMixed; ++i) v[i] = load(values + j * dh + d + i * kFloats);
      for (int r = 0; r < R; ++r) {
        const Floats w = splat(p[r * perRow + j * perKey]);
        for (int i = 0; i < kMixed; ++i) sum[r][i] += w * v[i];
      }
    }
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kMixed; ++i) store(o + r * dh + d + i * kFloats, sum[r][i]);
  }
  if (d == dh) return;
  for (int64_t j = 0; j < count; ++j) {
    for (int r = 0; r < R; ++r) {
      const float w = p[r * perRow + j * perKey];
      for (int64_t e = d; e < dh; ++e) o[r * dh + e] += w * toFloat(values[j * dh + e]);
    }
  }
}

// The same for all rows, in steps of like height. `next`, of `nextCount` numbers, is fetched meanwhile.
template <class T>
void mix(const T* values, int64_t count, int64_t dh, const float* p, int64_t perRow, int64_t perKey, int64_t rows,
         float* o, const T* next, int64_t nextCount) {
  const int64_t steps = (rows + kRows - 1) / kRows;
  FetchAhead ahead(next, nextCount, steps * std::max<int64_t>(1, dh / (kMixed * kFloats)));
  for (int64_t step = 0, r = 0, high; step < steps; ++step, r += high) {
    high = (rows - r) / (steps - step);
    const auto take = [&](auto some) {
      constexpr int R = decltype(some)::value;
      mixRows<R>(values, count, dh, p + r * perRow, perRow, perKey, o + r * dh, ahead);
    };
    switch (high) {
      case 1: take(std::integral_constant<int, 1>()); break;
      case 2: take(std::integral_constant<int, 2>()); break;
      case 3: take(std::integral_constant<int, 3>()); break;
      case 4: take(std::integral_constant<int, 4>()); break;
      case 5: take(std::integral_constant<int, 5>()); break;
      default: take(std::integral_constant<int, kRows>());
    }
  }
}

// A run of keys of one row's own, its values, and the run that the next row will read.
template <class T>
struct OwnRun {
  const T* keys;
  const T* values;
  const T* nextKeys;
  int64_t count;
};

// s[row][j] = q[row] · k[j] for R rows, whose queries lie one after another and whose scores are `stride` apart.
constexpr int kOwnRows = 4;
template <int R, class T>
void scoreRows(const float* q, const OwnRun<T>& run, int64_t dh, float* s, int64_t stride) {
  for (int64_t j = 0; j < run.count; ++j) {
    const T* k = run.keys + j * dh;
    fetchLines<Use::kReadLater>(run.values + j * dh, dh);
    fetchLines<Use::kReadLater>(run.nextKeys + j * dh, dh);
    Floats sum[R] = {};
    int64_t d = 0;
    for (; d + kFloats <= dh; d += kFloats) {
      const Floats key = load(k + d);
      for (int r = 0; r < R; ++r) sum[r] += load(q + r * dh + d) * key;
    }
    for (int r = 0; r < R; ++r) {
      float total = sumLanes(sum[r]);
      for (int64_t e = d; e < dh; ++e) total += q[r * dh + e] * toFloat(k[e]);
      s[r * stride + j] = total;
    }
  }
}

struct Scratch {
  std::vector<float> q, across, scores, top, sum, own, o;
  std::vector<uint32_t> pairs;
};

template <class T>
class Head {
 public:
  Head(const DecodeShape& shape, const DecodeCaches<T>& caches, int64_t prompt, int64_t head, Scratch& scratch)
      : s(shape), c(caches), p(prompt), h(head), w(scratch), rows(shape.group * shape.headsPerKv),
        stride((rows + kFloats - 1) / kFloats * kFloats) {}

  void run(const float* qkv, const float* cos, const float* sin, float* o, float* lse) {
    project(qkv, cos + p * s.headDim, sin + p * s.headDim);
    const int64_t prefix = s.prefixLength == 0 ? 0 : std::min<int64_t>(c.prefixLengths[p], s.prefixLength);
    const T* prefixK = c.prefixK + item() * s.prefixLength * s.headDim;
    const T* prefixV = c.prefixV + item() * s.prefixLength * s.headDim;
    const int64_t first = std::min<int64_t>(c.first[p], c.used);
    const int64_t before = c.used - first;
    const int64_t columns = before + c.step + 1;
    scoreOwn(first, before, columns);
    begin(columns);
    takePrefix(prefixK, prefixV, prefix);
    takeOwn(first, before, columns);
    finish(o, lse);
  }

 private:
  int64_t item() const { return p * s.kvHeads + h; }
  int64_t cacheRow(int64_t g) const { return item() * s.group + g; }

  // Rotated queries by row, and the new key and value into the block.
  void project(const float* qkv, const float* cos, const float* sin) {
    const int64_t dh = s.headDim, heads = s.kvHeads * s.headsPerKv, width = (heads + 2 * s.kvHeads) * dh;
    w.q.resize(static_cast<size_t>(rows * dh));
    std::vector<float>& k = w.top;
    k.resize(static_cast<size_t>(std::max(dh, stride)));
    for (int64_t g = 0; g < s.group; ++g) {
      const float* from = qkv + (p * s.group + g) * width;
      for (int64_t i = 0; i < s.headsPerKv; ++i) {
        rotate(from + (h * s.headsPerKv + i) * dh, cos, sin, dh, w.q.data() + (g * s.headsPerKv + i) * dh);
      }
      rotate(from + (heads + h) * dh, cos, sin, dh, k.data());
      const float* v = from + (heads + s.kvHeads + h) * dh;
      const int64_t at = (cacheRow(g) * s.blockColumns + c.step) * dh;
      for (int64_t d = 0; d < dh; ++d) {
        c.blockK[at + d] = fromFloat<T>(k[d]);
        c.blockV[at + d] = fromFloat<T>(v[d]);
      }
    }
    // The products take queries in the type of the keys.
    for (float& x : w.q) x = toFloat(fromFloat<T>(x));
  }

  // Nothing summed yet: the largest scores are those of the own columns.
  void begin(int64_t columns) {
    w.top.assign(static_cast<size_t>(stride), 0.0f);
    w.sum.assign(static_cast<size_t>(stride), 0.0f);
    w.o.assign(static_cast<size_t>(rows * s.headDim), 0.0f);
    for (int64_t r = 0; r < rows; ++r) {
      float most = -INFINITY;
      for (int64_t column = 0; column < columns; ++column) most = std::max(most, w.own[r * columns + column]);
      w.top[r] = most;
    }
  }

  // The prefix, chunk by chunk; sums and mixtures follow the largest score so far.
  void takePrefix(const T* keys, const T* values, int64_t count) {
    const int64_t dh = s.headDim;
    if (count == 0) return;
    layAcross();
    w.scores.resize(static_cast<size_t>(kChunk * stride));
    for (int64_t j = 0; j < count; j += kChunk) {
      const int64_t some = std::min(kChunk, count - j), next = std::min(kChunk, count - j - some);
      score(keys + j * dh, values + j * dh, some);
      weigh(some);
      mix(values + j * dh, some, dh, w.scores.data(), 1, stride, rows, w.o.data(), keys + (j + some) * dh, next * dh);
    }
  }

  // Queries with the rows across the lanes, then zeros.
  void layAcross() {
    const int64_t dh = s.headDim;
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2) {
      w.pairs.assign(static_cast<size_t>(dh / 2 * stride), 0);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t d = 0; d < dh / 2; ++d) {
          const uint32_t low = fromFloat<bfloat16>(w.q[r * dh + 2 * d]).bits;
          const uint32_t high = fromFloat<bfloat16>(w.q[r * dh + 2 * d + 1]).bits;
          w.pairs[d * stride + r] = low | high << 16;
        }
      return;
    }
#endif
    w.across.assign(static_cast<size_t>(dh * stride), 0.0f);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t d = 0; d < dh; ++d) w.across[d * stride + r] = w.q[r * dh + d];
  }

  const auto* across() const {
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2) return static_cast<const uint32_t*>(w.pairs.data());
    else
#endif
      return static_cast<const float*>(w.across.data());
  }

  // Scores of a chunk; its values are fetched meanwhile: between two uses of a cache all weights pass through.
  void score(const T* keys, const T* values, int64_t count) {
    const int64_t dh = s.headDim, vectors = stride / kFloats;
    const int64_t passes = (vectors + kAcross - 1) / kAcross, steps = (count + kKeys - 1) / kKeys;
    FetchAhead ahead(values, count * dh, passes * steps);
    for (int64_t v = 0; v < vectors;) {
      const auto* q = across() + v * kFloats;
      float* to = w.scores.data() + v * kFloats;
      const auto take = [&](auto some) {
        constexpr int V = decltype(some)::value;
        scoresAcross<V>(keys, count, dh, q, stride, to, ahead);
        v += V;
      };
      if (vectors - v >= kAcross) take(std::integral_constant<int, kAcross>());
      else if (vectors - v >= 2) take(std::integral_constant<int, 2>());
      else take(std::integral_constant<int, 1>());
    }
  }

  // Scores of a chunk become exponentials. A new largest score scales the earlier sums and mixtures down.
  void weigh(int64_t count) {
    for (int64_t v = 0; v < stride; v += kFloats) {
      float* const at = w.scores.data() + v;
      const Floats before = load(w.top.data() + v);
      Floats top = before, other = before;
      int64_t j = 0;
      for (; j + 2 <= count; j += 2) {
        top = larger(load(at + j * stride), top);
        other = larger(load(at + (j + 1) * stride), other);
      }
      if (j < count) top = larger(load(at + j * stride), top);
      top = larger(other, top);
      Floats sum = {};
      for (j = 0; j < count; ++j) {
        const Floats e = smallExponential(load(at + j * stride) - top);
        store(at + j * stride, e);
        sum += e;
      }
      const Floats factor = smallExponential(before - top);
      store(w.sum.data() + v, load(w.sum.data() + v) * factor + sum);
      store(w.top.data() + v, top);
      shrink(v, factor);
    }
  }

  void shrink(int64_t first, Floats factors) {
    const int64_t dh = s.headDim, last = std::min(rows, first + kFloats);
    for (int64_t r = first; r < last; ++r) {
      const float factor = factors[r - first];
      if (factor == 1.0f) continue;
      float* const row = w.o.data() + r * dh;
      for (int64_t d = 0; d < dh; ++d) row[d] *= factor;
    }
  }

  // The own columns of sequence g in two runs: [first, used) of the cache, then the block's [0, step].
  // body(run, column of its first key).
  template <class F>
  void eachOwn(int64_t g, int64_t first, int64_t before, int64_t columns, F&& body) {
    const int64_t dh = s.headDim, row = cacheRow(g);
    if (before > 0) {
      const int64_t at = (row * s.columns + first) * dh;
      body(OwnRun<T>{c.ownK + at, c.ownV + at, c.ownK + at + s.columns * dh, before}, int64_t{0});
    }
    const int64_t at = row * s.blockColumns * dh;
    body(OwnRun<T>{c.blockK + at, c.blockV + at, c.blockK + at + s.blockColumns * dh, columns - before}, before);
  }

  void scoreOwn(int64_t first, int64_t before, int64_t columns) {
    w.own.resize(static_cast<size_t>(rows * columns));
    for (int64_t g = 0; g < s.group; ++g) {
      eachOwn(g, first, before, columns, [&](const OwnRun<T>& run, int64_t column) {
        auto take = [&](int64_t r, auto some) {
          constexpr int R = decltype(some)::value;
          scoreRows<R>(w.q.data() + r * s.headDim, run, s.headDim, w.own.data() + r * columns + column, columns);
        };
        const int64_t end = (g + 1) * s.headsPerKv;
        int64_t r = g * s.headsPerKv;
        for (; r + kOwnRows <= end; r += kOwnRows) take(r, std::integral_constant<int, kOwnRows>{});
        for (; r < end; ++r) take(r, std::integral_constant<int, 1>{});
      });
    }
  }

  // The own columns, which were scored.
  void takeOwn(int64_t first, int64_t before, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r) {
      float* row = w.own.data() + r * columns;
      Floats sum = {};
      eachVector(columns, [&](int64_t i, auto lanes) {
        const Floats e = lanes.masked(smallExponential(lanes.get(row + i) - splat(w.top[r])));
        lanes.put(row + i, e);
        sum += e;
      });
      w.sum[r] += sumLanes(sum);
    }
    for (int64_t g = 0; g < s.group; ++g) {
      const int64_t r = g * s.headsPerKv;
      eachOwn(g, first, before, columns, [&](const OwnRun<T>& run, int64_t column) {
        const float* weights = w.own.data() + r * columns + column;
        mix(run.values, run.count, s.headDim, weights, columns, 1, s.headsPerKv, w.o.data() + r * s.headDim, run.values, 0);
      });
    }
  }

  void finish(float* o, float* lse) {
    const int64_t dh = s.headDim, heads = s.kvHeads * s.headsPerKv;
    for (int64_t g = 0; g < s.group; ++g)
      for (int64_t i = 0; i < s.headsPerKv; ++i) {
        const int64_t r = g * s.headsPerKv + i;
        const int64_t place = (p * s.group + g) * heads + h * s.headsPerKv + i;
        float* to = o + place * dh;
        for (int64_t d = 0; d < dh; ++d) to[d] = w.o[r * dh + d] / w.sum[r];
        lse[place] = w.top[r] + std::log(w.sum[r]);
      }
  }

  const DecodeShape& s;
  const DecodeCaches<T>& c;
  const int64_t p, h;
  Scratch& w;
  const int64_t rows, stride;
};

}  // namespace

template <class T>
void decodeAttention(const DecodeShape& shape, const float* qkv, const float* cos, const float* sin,
                     const DecodeCaches<T>& caches, float* o, float* lse) {
  parallelFor(shape.prompts * shape.kvHeads, 1, [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    for (int64_t item = begin; item < end; ++item) {
      Head<T>(shape, caches, item / shape.kvHeads, item % shape.kvHeads, scratch).run(qkv, cos, sin, o, lse);
    }
  });
}

template void decodeAttention<float>(const DecodeShape&, const float*, const float*, const float*,
                                     const DecodeCaches<float>&, float*, float*);
template void decodeAttention<bfloat16>(const DecodeShape&, const float*, const float*, const float*,
                                    const DecodeCaches<bfloat16>&, float*, float*);

}  // namespace weir
