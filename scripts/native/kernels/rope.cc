// Between rows by token [P·G·T, H·dh] and rows by head [P·kv·G·share, T, dh], with bias and rotation on the way.
// Heads are ordered (kv, share). The rotation pairs i with i + dh/2: y = x·cos + rot(x)·sin, rot(x) = (−x₂, x₁).
#include "parallel.h"
#include "registry.h"

namespace weir {
namespace {

struct Layout {
  explicit Layout(const Attributes& attributes)
      : prompts(attributes.integer("prompts")),
        group(attributes.integer("group")),
        kv(attributes.integer("kv")),
        share(attributes.integer("share")),
        length(attributes.integer("length")) {}

  int64_t prompts, group, kv, share, length;

  // The layout of keys and values beside these queries.
  Layout perKey() const {
    Layout keys = *this;
    keys.share = 1;
    return keys;
  }

  int64_t tokens() const { return prompts * group * length; }
  int64_t heads() const { return kv * share; }

  int64_t promptOf(int64_t token) const { return token / (group * length); }
  int64_t timeOf(int64_t token) const { return token % length; }

  // Calls body(head, row) for the heads of a token, with their rows in [P·kv·G·share·T].
  template <class F>
  void eachHead(int64_t token, F&& body) const {
    const int64_t sequence = token / length % group;
    int64_t head = 0;
    for (int64_t k = 0; k < kv; ++k) {
      int64_t row = ((promptOf(token) * kv + k) * group + sequence) * share * length + timeOf(token);
      for (int64_t s = 0; s < share; ++s, row += length) body(head++, row);
    }
  }
};

// Cos and sin by prompt (or one for all of them) and time; none where heads are not rotated.
struct Rotation {
  Rotation() : cos_(nullptr), sin_(nullptr), promptStride_(0) {}

  Rotation(Call& call, int place, const Layout& layout, int64_t width) {
    const auto table = call.input<float>(place);
    const int64_t one = layout.length * width;
    cos_ = table.count == 0 ? nullptr : table.data;
    promptStride_ = table.count == one ? 0 : one;
    sin_ = call.elements<float>(place + 1, table.count, true);
    if (cos_ == nullptr) return;
    expect(table.count == one || table.count == one * layout.prompts,
           "cos: expected " + std::to_string(one) + " elements for each prompt or for all, got " +
               std::to_string(table.count));
    expect(width % 2 == 0, "heads of odd width cannot be rotated: " + std::to_string(width));
  }

  explicit operator bool() const { return cos_ != nullptr; }

  const float* cos(const Layout& layout, int64_t token, int64_t width) const {
    return cos_ + layout.promptOf(token) * promptStride_ + layout.timeOf(token) * width;
  }
  const float* sin(const Layout& layout, int64_t token, int64_t width) const {
    return sin_ + layout.promptOf(token) * promptStride_ + layout.timeOf(token) * width;
  }

 private:
  const float* cos_;
  const float* sin_;
  int64_t promptStride_;
};

template <class T, class Lanes>
Floats biased(const T* from, const float* bias, int64_t i, Lanes lanes) {
  const Floats x = lanes.get(from + i);
  return bias == nullptr ? x : x + lanes.get(bias + i);
}

// Heads of x, which starts in rows of `stride` elements, to y by head.
template <class T>
void toHeads(const Layout& layout, const T* x, int64_t stride, const float* bias, const Rotation& rotation, int64_t width,
             T* y) {
  const int64_t half = width / 2;
  parallelFor(layout.tokens(), grainOfRows(layout.heads() * width), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const float* const cos = rotation ? rotation.cos(layout, token, width) : nullptr;
      const float* const sin = rotation ? rotation.sin(layout, token, width) : nullptr;
      layout.eachHead(token, [&](int64_t head, int64_t place) {
        const T* const from = x + token * stride + head * width;
        const float* const add = bias == nullptr ? nullptr : bias + head * width;
        T* const to = y + place * width;
        if (cos == nullptr) {
          eachVector(width, [&](int64_t i, auto lanes) { lanes.put(to + i, biased(from, add, i, lanes)); });
          return;
        }
        eachVector(half, [&](int64_t i, auto lanes) {
          const int64_t j = i + half;
          const Floats first = biased(from, add, i, lanes), second = biased(from, add, j, lanes);
          lanes.put(to + i, first * lanes.get(cos + i) - second * lanes.get(sin + i));
          lanes.put(to + j, second * lanes.get(cos + j) + first * lanes.get(sin + j));
        });
      });
    }
  });
}

// Back from dy by head, turned back, into rows of `stride` elements: dx = dy·cos + rotᵀ(dy·sin).
template <class S, class T>
void toTokens(const Layout& layout, const S* dy, const Rotation& rotation, int64_t width, T* dx, int64_t stride) {
  const int64_t half = width / 2;
  parallelFor(layout.tokens(), grainOfRows(layout.heads() * width), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const float* const cos = rotation ? rotation.cos(layout, token, width) : nullptr;
      const float* const sin = rotation ? rotation.sin(layout, token, width) : nullptr;
      layout.eachHead(token, [&](int64_t head, int64_t place) {
        const S* const from = dy + place * width;
        T* const to = dx + token * stride + head * width;
        if (cos == nullptr) {
          eachVector(width, [&](int64_t i, auto lanes) { lanes.put(to + i, lanes.get(from + i)); });
          return;
        }
        eachVector(half, [&](int64_t i, auto lanes) {
          const int64_t j = i + half;
          const Floats first = lanes.get(from + i), second = lanes.get(from + j);
          lanes.put(to + i, first * lanes.get(cos + i) + second * lanes.get(sin + j));
          lanes.put(to + j, second * lanes.get(cos + j) - first * lanes.get(sin + i));
        });
      });
    }
  });
}

template <class T>
class RopeHeads {
 public:
  explicit RopeHeads(const Attributes& attributes) : layout_(attributes) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<T>(0);
    const int64_t heads = layout_.heads(), row = x.columns(), width = row / heads;
    expect(x.rows() == layout_.tokens() && width * heads == row,
           "x: expected [" + std::to_string(layout_.tokens()) + ", " + std::to_string(heads) + "·dh], got [" +
               std::to_string(x.rows()) + ", " + std::to_string(row) + "]");
    const float* const bias = call.elements<float>(1, row, true);
    const Rotation rotation(call, 2, layout_, width);
    T* const y = call.output<T>(0, {layout_.prompts * layout_.group * heads, layout_.length, width});
    toHeads(layout_, x.data, row, bias, rotation, width, y);
  }

 private:
  Layout layout_;
};

template <class S, class T>
class RopeHeadsGrad {
 public:
  explicit RopeHeadsGrad(const Attributes& attributes) : layout_(attributes) {}

  void operator()(Call& call) const {
    const auto dy = call.input<S>(0);
    expect(dy.shape.size() == 3, "dy: expected three axes, got " + std::to_string(dy.shape.size()));
    const int64_t heads = layout_.heads(), width = dy.shape[2], row = heads * width;
    expect(dy.shape[0] == layout_.prompts * layout_.group * heads && dy.shape[1] == layout_.length,
           "dy: expected [" + std::to_string(layout_.prompts * layout_.group * heads) + ", " +
               std::to_string(layout_.length) + ", dh], got [" + std::to_string(dy.shape[0]) + ", " +
               std::to_string(dy.shape[1]) + ", " + std::to_string(width) + "]");
    const Rotation rotation(call, 1, layout_, width);
    toTokens(layout_, dy.data, rotation, width, call.output<T>(0, {layout_.tokens(), row}), row);
  }

 private:
  Layout layout_;
};

// Queries, keys and values of one joined projection [N, (kv·share + 2·kv)·dh]: queries and keys rotated by tables of
// their own, values as they are.
template <class T>
class QkvHeads {
 public:
  explicit QkvHeads(const Attributes& attributes) : queries_(attributes), keys_(queries_.perKey()) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<T>(0);
    const int64_t heads = queries_.heads(), kv = keys_.heads(), row = x.columns(), width = row / (heads + 2 * kv);
    expect(x.rows() == queries_.tokens() && width * (heads + 2 * kv) == row, "the joined projection does not fit the heads");
    const float* const bias = call.elements<float>(1, row, true);
    const Rotation ofQueries(call, 2, queries_, width), ofKeys(call, 4, keys_, width);
    const int64_t rows = keys_.prompts * keys_.group * kv;
    const auto part = [&](const Layout& layout, int64_t head, const Rotation& rotation, T* y) {
      toHeads(layout, x.data + head * width, row, bias == nullptr ? nullptr : bias + head * width, rotation, width, y);
    };
    part(queries_, 0, ofQueries, call.output<T>(0, {rows * queries_.share, queries_.length, width}));
    part(keys_, heads, ofKeys, call.output<T>(1, {rows, keys_.length, width}));
    part(keys_, heads + kv, Rotation(), call.output<T>(2, {rows, keys_.length, width}));
  }

 private:
  Layout queries_, keys_;
};

template <class T>
class QkvHeadsGrad {
 public:
  explicit QkvHeadsGrad(const Attributes& attributes) : queries_(attributes), keys_(queries_.perKey()) {}

  void operator()(Call& call) const {
    const auto dq = call.input<T>(0);
    expect(dq.shape.size() == 3, "dq: expected three axes, got " + std::to_string(dq.shape.size()));
    const int64_t heads = queries_.heads(), kv = keys_.heads(), width = dq.shape[2], row = (heads + 2 * kv) * width;
    expect(dq.count == queries_.tokens() * heads * width, "dq does not fit the heads");
    const float* const dk = call.elements<float>(1, keys_.tokens() * kv * width);
    const float* const dv = call.elements<float>(2, keys_.tokens() * kv * width);
    const Rotation ofQueries(call, 3, queries_, width), ofKeys(call, 5, keys_, width);
    T* const dx = call.output<T>(0, {queries_.tokens(), row});
    toTokens(queries_, dq.data, ofQueries, width, dx, row);
    toTokens(keys_, dk, ofKeys, width, dx + heads * width, row);
    toTokens(keys_, dv, Rotation(), width, dx + (heads + kv) * width, row);
  }

 private:
  Layout queries_, keys_;
};

const Registration registration([] {
  registerOperation("WeirRopeHeads", {"x: T", "bias: float", "cos: float", "sin: float"}, {"y: T"},
                    {"prompts: int", "group: int", "kv: int", "share: int", "length: int", kTypes});
  registerBothTypes<RopeHeads>("WeirRopeHeads");
  registerOperation(
      "WeirRopeHeadsGrad", {"dy: S", "cos: float", "sin: float"}, {"dx: T"},
      {"prompts: int", "group: int", "kv: int", "share: int", "length: int", "S: {float, bfloat16}", kTypes});
  registerKernel<RopeHeadsGrad<float, float>>("WeirRopeHeadsGrad", {{"S", TF_FLOAT}, {"T", TF_FLOAT}});
  registerKernel<RopeHeadsGrad<float, Bf16>>("WeirRopeHeadsGrad", {{"S", TF_FLOAT}, {"T", TF_BFLOAT16}});
  registerKernel<RopeHeadsGrad<Bf16, float>>("WeirRopeHeadsGrad", {{"S", TF_BFLOAT16}, {"T", TF_FLOAT}});
  registerKernel<RopeHeadsGrad<Bf16, Bf16>>("WeirRopeHeadsGrad", {{"S", TF_BFLOAT16}, {"T", TF_BFLOAT16}});
  registerOperation("WeirQkvHeads",
                    {"qkv: T", "bias: float", "cos_q: float", "sin_q: float", "cos_k: float", "sin_k: float"},
                    {"q: T", "k: T", "v: T"},
                    {"prompts: int", "group: int", "kv: int", "share: int", "length: int", kTypes});
  registerBothTypes<QkvHeads>("WeirQkvHeads");
  registerOperation("WeirQkvHeadsGrad",
                    {"dq: T", "dk: float", "dv: float", "cos_q: float", "sin_q: float", "cos_k: float", "sin_k: float"},
                    {"dqkv: T"}, {"prompts: int", "group: int", "kv: int", "share: int", "length: int", kTypes});
  registerBothTypes<QkvHeadsGrad>("WeirQkvHeadsGrad");
});

}  // namespace
}  // namespace weir
