#include "decode_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "parallel.h"
#include "prefetch.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// Keys per step, rows per step, vectors of rows whose scores are taken together, and vectors of dimensions whose
// mixtures are: their sums fit the registers.
constexpr int kKeys = 6, kRows = 4;
#if defined(__AVX512F__)
constexpr int kAcross = 4, kMixed = 4;
#else
constexpr int kAcross = 2, kMixed = 2;
#endif

// x·cos + rotate_half(x)·sin.
void rotate(const float* x, const float* cos, const float* sin, int64_t dh, float* y) {
  const int64_t half = dh / 2;
  for (int64_t i = 0; i < half; ++i) {
    y[i] = x[i] * cos[i] - x[i + half] * sin[i];
    y[i + half] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
  }
}

// Scores of prefix keys against rows that lie across the lanes: s[j][rows] = Σ_d k[j][d] · q[d][rows]. The values of the
// same keys are fetched: between two uses of a cache all weights pass through.
template <int V, class T>
void scoresAcross(const T* keys, const T* values, int64_t count, int64_t dh, const float* q, int64_t stride, float* s) {
  int64_t j = 0;
  for (; j + kKeys <= count; j += kKeys) {
    fetchLines<Use::kReadLater>(values + j * dh, kKeys * dh);
    Floats sum[kKeys][V] = {};
    for (int64_t d = 0; d < dh; ++d) {
      Floats row[V];
      for (int v = 0; v < V; ++v) row[v] = load(q + d * stride + v * kLanes);
      for (int i = 0; i < kKeys; ++i) {
        const Floats k = splat(valueOf(keys[(j + i) * dh + d]));
        for (int v = 0; v < V; ++v) sum[i][v] += k * row[v];
      }
    }
    for (int i = 0; i < kKeys; ++i)
      for (int v = 0; v < V; ++v) store(s + (j + i) * stride + v * kLanes, sum[i][v]);
  }
  for (; j < count; ++j) {
    Floats sum[V] = {};
    for (int64_t d = 0; d < dh; ++d) {
      const Floats k = splat(valueOf(keys[j * dh + d]));
      for (int v = 0; v < V; ++v) sum[v] += k * load(q + d * stride + v * kLanes);
    }
    for (int v = 0; v < V; ++v) store(s + j * stride + v * kLanes, sum[v]);
  }
}

#if defined(__AVX512BF16__)
// The same with pairs of dimensions in bfloat16; q holds the pairs [dh / 2][rows].
template <int V>
void scoresAcross(const Bf16* keys, const Bf16* values, int64_t count, int64_t dh, const uint32_t* q, int64_t stride,
                  float* s) {
  const int64_t pairs = dh / 2;
  auto some = [&](int64_t j, auto keysHere) {
    constexpr int N = decltype(keysHere)::value;
    fetchLines<Use::kReadLater>(values + j * dh, N * dh);
    __m512 sum[N][V];
    for (int i = 0; i < N; ++i)
      for (int v = 0; v < V; ++v) sum[i][v] = _mm512_setzero_ps();
    for (int64_t d = 0; d < pairs; ++d) {
      __m512bh row[V];
      for (int v = 0; v < V; ++v) row[v] = (__m512bh)_mm512_loadu_si512(q + d * stride + v * 16);
      for (int i = 0; i < N; ++i) {
        int32_t pair;
        std::memcpy(&pair, keys + (j + i) * dh + 2 * d, sizeof pair);
        const __m512bh k = (__m512bh)_mm512_set1_epi32(pair);
        for (int v = 0; v < V; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], k, row[v]);
      }
    }
    for (int i = 0; i < N; ++i)
      for (int v = 0; v < V; ++v) _mm512_storeu_ps(s + (j + i) * stride + v * 16, sum[i][v]);
  };
  int64_t j = 0;
  for (; j + kKeys <= count; j += kKeys) some(j, std::integral_constant<int, kKeys>{});
  for (; j < count; ++j) some(j, std::integral_constant<int, 1>{});
}
#endif

// Keys whose values stay in the first-level cache while all rows take them.
constexpr int64_t kMixedKeys = 64;

// o[rows][dh] += Σ_j p[row][j] · v[j] for R rows with the dimensions across the lanes. Weights of two rows lie `perRow`
// apart, of two keys `perKey`.
template <int R, class T>
void mixRows(const T* values, int64_t count, int64_t dh, const float* p, int64_t perRow, int64_t perKey, float* o) {
  int64_t d = 0;
  for (; d + kMixed * kLanes <= dh; d += kMixed * kLanes) {
    Floats sum[R][kMixed];
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kMixed; ++i) sum[r][i] = load(o + r * dh + d + i * kLanes);
    for (int64_t j = 0; j < count; ++j) {
      Floats v[kMixed];
      for (int i = 0; i < kMixed; ++i) v[i] = load(values + j * dh + d + i * kLanes);
      for (int r = 0; r < R; ++r) {
        const Floats w = splat(p[r * perRow + j * perKey]);
        for (int i = 0; i < kMixed; ++i) sum[r][i] += w * v[i];
      }
    }
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kMixed; ++i) store(o + r * dh + d + i * kLanes, sum[r][i]);
  }
  if (d == dh) return;
  for (int64_t j = 0; j < count; ++j) {
    for (int r = 0; r < R; ++r) {
      const float w = p[r * perRow + j * perKey];
      for (int64_t e = d; e < dh; ++e) o[r * dh + e] += w * valueOf(values[j * dh + e]);
    }
  }
}

template <class T>
void mix(const T* values, int64_t count, int64_t dh, const float* p, int64_t perRow, int64_t perKey, int64_t rows,
         float* o) {
  for (int64_t j = 0; j < count; j += kMixedKeys) {
    const T* some = values + j * dh;
    const float* weights = p + j * perKey;
    const int64_t keys = std::min(kMixedKeys, count - j);
    int64_t r = 0;
    for (; r + kRows <= rows; r += kRows)
      mixRows<kRows>(some, keys, dh, weights + r * perRow, perRow, perKey, o + r * dh);
    for (; r < rows; ++r) mixRows<1>(some, keys, dh, weights + r * perRow, perRow, perKey, o + r * dh);
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
template <int R, class T>
void scoreRows(const float* q, const OwnRun<T>& run, int64_t dh, float* s, int64_t stride) {
  for (int64_t j = 0; j < run.count; ++j) {
    const T* k = run.keys + j * dh;
    fetchLines<Use::kReadLater>(run.values + j * dh, dh);
    fetchLines<Use::kReadLater>(run.nextKeys + j * dh, dh);
    Floats sum[R] = {};
    int64_t d = 0;
    for (; d + kLanes <= dh; d += kLanes) {
      const Floats key = load(k + d);
      for (int r = 0; r < R; ++r) sum[r] += load(q + r * dh + d) * key;
    }
    for (int r = 0; r < R; ++r) {
      float total = sumLanes(sum[r]);
      for (int64_t e = d; e < dh; ++e) total += q[r * dh + e] * valueOf(k[e]);
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
      : s(shape), c(caches), p(prompt), h(head), w(scratch), rows(shape.group * shape.share),
        stride((rows + kLanes - 1) / kLanes * kLanes) {}

  void run(const float* qkv, const float* cos, const float* sin, float* o) {
    project(qkv, cos + p * s.headDim, sin + p * s.headDim);
    const int64_t prefix = s.prefixLength == 0 ? 0 : std::min<int64_t>(c.prefixLengths[p], s.prefixLength);
    const T* prefixK = c.prefixK + item() * s.prefixLength * s.headDim;
    const T* prefixV = c.prefixV + item() * s.prefixLength * s.headDim;
    scorePrefix(prefixK, prefixV, prefix);
    const int64_t first = std::min<int64_t>(c.first[p], c.used);
    const int64_t before = c.used - first;
    const int64_t columns = before + c.round + 1;
    scoreOwn(first, before, columns);
    normalise(prefix, columns);
    w.o.assign(static_cast<size_t>(stride * s.headDim), 0.0f);
    mix(prefixV, prefix, s.headDim, w.scores.data(), 1, stride, rows, w.o.data());
    mixOwn(first, before, columns);
    finish(o);
  }

 private:
  int64_t item() const { return p * s.kvHeads + h; }
  int64_t cacheRow(int64_t g) const { return item() * s.group + g; }

  // Rotated queries by row, and the new key and value into the block.
  void project(const float* qkv, const float* cos, const float* sin) {
    const int64_t dh = s.headDim, heads = s.kvHeads * s.share, width = (heads + 2 * s.kvHeads) * dh;
    w.q.resize(static_cast<size_t>(rows * dh));
    std::vector<float>& k = w.top;
    k.resize(static_cast<size_t>(std::max(dh, stride)));
    for (int64_t g = 0; g < s.group; ++g) {
      const float* from = qkv + (p * s.group + g) * width;
      for (int64_t i = 0; i < s.share; ++i) {
        rotate(from + (h * s.share + i) * dh, cos, sin, dh, w.q.data() + (g * s.share + i) * dh);
      }
      rotate(from + (heads + h) * dh, cos, sin, dh, k.data());
      const float* v = from + (heads + s.kvHeads + h) * dh;
      const int64_t at = (cacheRow(g) * s.blockColumns + c.round) * dh;
      for (int64_t d = 0; d < dh; ++d) {
        c.blockK[at + d] = fromFloat<T>(k[d]);
        c.blockV[at + d] = fromFloat<T>(v[d]);
      }
    }
    // The products take queries in the type of the keys.
    for (float& x : w.q) x = valueOf(fromFloat<T>(x));
  }

  void scorePrefix(const T* keys, const T* values, int64_t count) {
    const int64_t dh = s.headDim;
    w.scores.resize(static_cast<size_t>(std::max<int64_t>(count, 1) * stride));
    const int64_t vectors = stride / kLanes;
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2) {
      w.pairs.assign(static_cast<size_t>(dh / 2 * stride), 0);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t d = 0; d < dh / 2; ++d) {
          const uint32_t low = fromFloat<Bf16>(w.q[r * dh + 2 * d]).bits;
          const uint32_t high = fromFloat<Bf16>(w.q[r * dh + 2 * d + 1]).bits;
          w.pairs[d * stride + r] = low | high << 16;
        }
      for (int64_t v = 0; v < vectors;) {
        const uint32_t* q = w.pairs.data() + v * 16;
        float* to = w.scores.data() + v * 16;
        if (vectors - v >= kAcross) scoresAcross<kAcross>(keys, values, count, dh, q, stride, to), v += kAcross;
        else if (vectors - v >= 2) scoresAcross<2>(keys, values, count, dh, q, stride, to), v += 2;
        else scoresAcross<1>(keys, values, count, dh, q, stride, to), v += 1;
      }
      return;
    }
#endif
    w.across.assign(static_cast<size_t>(dh * stride), 0.0f);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t d = 0; d < dh; ++d) w.across[d * stride + r] = w.q[r * dh + d];
    for (int64_t v = 0; v < vectors;) {
      const float* q = w.across.data() + v * kLanes;
      float* to = w.scores.data() + v * kLanes;
      if (vectors - v >= kAcross) scoresAcross<kAcross>(keys, values, count, dh, q, stride, to), v += kAcross;
      else if (vectors - v >= 2) scoresAcross<2>(keys, values, count, dh, q, stride, to), v += 2;
      else scoresAcross<1>(keys, values, count, dh, q, stride, to), v += 1;
    }
  }

  // The own columns of sequence g in two runs: [first, used) of the cache, then the block's [0, round].
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
        const int64_t end = (g + 1) * s.share;
        int64_t r = g * s.share;
        for (; r + kRows <= end; r += kRows) take(r, std::integral_constant<int, kRows>{});
        for (; r < end; ++r) take(r, std::integral_constant<int, 1>{});
      });
    }
  }

  // Scores become exponentials; w.sum holds their sums.
  void normalise(int64_t prefix, int64_t columns) {
    w.top.assign(static_cast<size_t>(stride), -INFINITY);
    w.sum.assign(static_cast<size_t>(stride), 0.0f);
    for (int64_t r = 0; r < rows; ++r) {
      float most = -INFINITY;
      for (int64_t column = 0; column < columns; ++column) most = std::max(most, w.own[r * columns + column]);
      w.top[r] = most;
    }
    for (int64_t r = rows; r < stride; ++r) w.top[r] = 0.0f;
    for (int64_t v = 0; v < stride; v += kLanes) {
      Floats top = load(w.top.data() + v);
      for (int64_t j = 0; j < prefix; ++j) top = larger(load(w.scores.data() + j * stride + v), top);
      store(w.top.data() + v, top);
      Floats sum = {};
      for (int64_t j = 0; j < prefix; ++j) {
        float* at = w.scores.data() + j * stride + v;
        const Floats e = exponential(load(at) - top);
        store(at, e);
        sum += e;
      }
      store(w.sum.data() + v, sum);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* row = w.own.data() + r * columns;
      Floats sum = {};
      eachVector(columns, [&](int64_t i, auto lanes) {
        const Floats e = lanes.kept(exponential(lanes.get(row + i) - splat(w.top[r])));
        lanes.put(row + i, e);
        sum += e;
      });
      w.sum[r] += sumLanes(sum);
    }
  }

  void mixOwn(int64_t first, int64_t before, int64_t columns) {
    for (int64_t g = 0; g < s.group; ++g) {
      const int64_t r = g * s.share;
      eachOwn(g, first, before, columns, [&](const OwnRun<T>& run, int64_t column) {
        const float* weights = w.own.data() + r * columns + column;
        mix(run.values, run.count, s.headDim, weights, columns, 1, s.share, w.o.data() + r * s.headDim);
      });
    }
  }

  void finish(float* o) {
    const int64_t dh = s.headDim, heads = s.kvHeads * s.share;
    for (int64_t g = 0; g < s.group; ++g)
      for (int64_t i = 0; i < s.share; ++i) {
        const int64_t r = g * s.share + i;
        float* to = o + ((p * s.group + g) * heads + h * s.share + i) * dh;
        for (int64_t d = 0; d < dh; ++d) to[d] = w.o[r * dh + d] / w.sum[r];
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
                     const DecodeCaches<T>& caches, float* o) {
  parallelFor(shape.prompts * shape.kvHeads, 1, [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    for (int64_t item = begin; item < end; ++item) {
      Head<T>(shape, caches, item / shape.kvHeads, item % shape.kvHeads, scratch).run(qkv, cos, sin, o);
    }
  });
}

template void decodeAttention<float>(const DecodeShape&, const float*, const float*, const float*,
                                     const DecodeCaches<float>&, float*);
template void decodeAttention<Bf16>(const DecodeShape&, const float*, const float*, const float*,
                                    const DecodeCaches<Bf16>&, float*);

}  // namespace weir
