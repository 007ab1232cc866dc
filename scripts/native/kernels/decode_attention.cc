#include "decode_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "parallel.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// Keys per step, vectors of rows whose scores are taken together, and vectors of dimensions whose mixtures are: their sums
// fit the registers.
constexpr int kKeys = 6;
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

// Scores of prefix keys against rows that lie across the lanes: s[j][rows] = Σ_d k[j][d] · q[d][rows].
template <int V, class T>
void scoresAcross(const T* keys, int64_t count, int64_t dh, const float* q, int64_t stride, float* s) {
  int64_t j = 0;
  for (; j + kKeys <= count; j += kKeys) {
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
void scoresAcross(const Bf16* keys, int64_t count, int64_t dh, const uint32_t* q, int64_t stride, float* s) {
  const int64_t pairs = dh / 2;
  auto some = [&](int64_t j, auto keysHere) {
    constexpr int N = decltype(keysHere)::value;
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

// o[rows][dh] += Σ_j p[j][row] · v[j], for up to four rows at once with the dimensions across the lanes.
template <int R, class T>
void mixRows(const T* values, int64_t count, int64_t dh, const float* p, int64_t stride, float* o) {
  int64_t d = 0;
  for (; d + kMixed * kLanes <= dh; d += kMixed * kLanes) {
    Floats sum[R][kMixed] = {};
    for (int64_t j = 0; j < count; ++j) {
      Floats v[kMixed];
      for (int i = 0; i < kMixed; ++i) v[i] = load(values + j * dh + d + i * kLanes);
      for (int r = 0; r < R; ++r) {
        const Floats w = splat(p[j * stride + r]);
        for (int i = 0; i < kMixed; ++i) sum[r][i] += w * v[i];
      }
    }
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kMixed; ++i) {
        float* to = o + r * dh + d + i * kLanes;
        store(to, load(to) + sum[r][i]);
      }
  }
  if (d == dh) return;
  for (int64_t j = 0; j < count; ++j) {
    for (int r = 0; r < R; ++r) {
      const float w = p[j * stride + r];
      for (int64_t e = d; e < dh; ++e) o[r * dh + e] += w * valueOf(values[j * dh + e]);
    }
  }
}

template <class T>
void mix(const T* values, int64_t count, int64_t dh, const float* p, int64_t stride, int64_t rows, float* o) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) mixRows<4>(values, count, dh, p + r, stride, o + r * dh);
  for (; r < rows; ++r) mixRows<1>(values, count, dh, p + r, stride, o + r * dh);
}

template <class T>
float dot(const float* q, const T* k, int64_t dh) {
  Floats sum = {};
  int64_t d = 0;
  for (; d + kLanes <= dh; d += kLanes) sum += load(q + d) * load(k + d);
  float total = sumLanes(sum);
  for (; d < dh; ++d) total += q[d] * valueOf(k[d]);
  return total;
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
    scorePrefix(prefixK, prefix);
    const int64_t first = std::min<int64_t>(c.first[p], c.used);
    const int64_t before = c.used - first;
    const int64_t columns = before + c.round + 1;
    scoreOwn(first, before, columns);
    normalise(prefix, columns);
    w.o.assign(static_cast<size_t>(stride * s.headDim), 0.0f);
    mix(prefixV, prefix, s.headDim, w.scores.data(), stride, rows, w.o.data());
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

  void scorePrefix(const T* keys, int64_t count) {
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
        if (vectors - v >= kAcross) scoresAcross<kAcross>(keys, count, dh, q, stride, to), v += kAcross;
        else if (vectors - v >= 2) scoresAcross<2>(keys, count, dh, q, stride, to), v += 2;
        else scoresAcross<1>(keys, count, dh, q, stride, to), v += 1;
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
      if (vectors - v >= kAcross) scoresAcross<kAcross>(keys, count, dh, q, stride, to), v += kAcross;
      else if (vectors - v >= 2) scoresAcross<2>(keys, count, dh, q, stride, to), v += 2;
      else scoresAcross<1>(keys, count, dh, q, stride, to), v += 1;
    }
  }

  // Own columns [first, used), then the block's [0, round].
  template <class F>
  void eachOwn(int64_t g, int64_t first, int64_t before, int64_t columns, const T* own, const T* block, F&& body) {
    const int64_t dh = s.headDim;
    const T* ownRow = own + (cacheRow(g) * s.columns + first) * dh;
    const T* blockRow = block + cacheRow(g) * s.blockColumns * dh;
    for (int64_t column = 0; column < columns; ++column) {
      body(column, column < before ? ownRow + column * dh : blockRow + (column - before) * dh);
    }
  }

  void scoreOwn(int64_t first, int64_t before, int64_t columns) {
    w.own.resize(static_cast<size_t>(rows * columns));
    for (int64_t g = 0; g < s.group; ++g) {
      eachOwn(g, first, before, columns, c.ownK, c.blockK, [&](int64_t column, const T* k) {
        for (int64_t i = 0; i < s.share; ++i) {
          const int64_t r = g * s.share + i;
          w.own[r * columns + column] = dot(w.q.data() + r * s.headDim, k, s.headDim);
        }
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
    const int64_t dh = s.headDim;
    for (int64_t g = 0; g < s.group; ++g) {
      eachOwn(g, first, before, columns, c.ownV, c.blockV, [&](int64_t column, const T* v) {
        for (int64_t i = 0; i < s.share; ++i) {
          const int64_t r = g * s.share + i;
          const float weight = w.own[r * columns + column];
          float* to = w.o.data() + r * dh;
          int64_t d = 0;
          for (; d + kLanes <= dh; d += kLanes) store(to + d, load(to + d) + splat(weight) * load(v + d));
          for (; d < dh; ++d) to[d] += weight * valueOf(v[d]);
        }
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
