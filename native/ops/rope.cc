// Between rows by token [N, H·dh] and rows by head [P·kv·G·headsPerKv, T, dh], adding the bias and applying the RoPE rotation.
// Heads are ordered (kv, headsPerKv). The rotation pairs i with i + dh/2: y = x·cos + rot(x)·sin, rot(x) = (−x₂, x₁).
// Sequences follow each other in the tokens: T tokens each (N = P·G·T), or those between their offsets [P·G + 1]. By head a
// sequence that is shorter than T is filled with zeros; tokens beyond the last offset belong to none and become zeros.
#include <algorithm>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

struct Layout {
  explicit Layout(const Attributes& attributes)
      : prompts(attributes.integer("prompts")),
        group(attributes.integer("group")),
        kv(attributes.integer("kv")),
        headsPerKv(attributes.integer("heads_per_kv")),
        length(attributes.integer("length")),
        tokens(attributes.integer("tokens")) {}

  int64_t prompts, group, kv, headsPerKv, length, tokens;
  const int32_t* offsets = nullptr;

  // This layout with the offsets that a call came with, checked.
  Layout packed(Call& call, int place) const {
    Layout layout = *this;
    const auto given = call.input<int32_t>(place);
    if (given.count == 0) {
      expect(tokens == slots(), "tokens: expected " + std::to_string(slots()) + " without offsets, got " +
                                    std::to_string(tokens));
      return layout;
    }
    expect(given.count == sequences() + 1, "offsets: expected " + std::to_string(sequences() + 1) + " elements, got " +
                                               std::to_string(given.count));
    expect(given.data[0] == 0 && given.data[sequences()] <= tokens, "offsets: must begin at 0 and end within the tokens");
    for (int64_t i = 0; i < sequences(); ++i) {
      const int64_t own = int64_t(given.data[i + 1]) - given.data[i];
      expect(own >= 0 && own <= length, "offsets: a sequence has " + std::to_string(own) + " tokens, at most " +
                                            std::to_string(length) + " fit");
    }
    layout.offsets = given.data;
    return layout;
  }

  // The layout of the keys and values that belong to these queries.
  Layout perKey() const {
    Layout keys = *this;
    keys.headsPerKv = 1;
    return keys;
  }

  int64_t sequences() const { return prompts * group; }
  // Places of all sequences at full length.
  int64_t slots() const { return sequences() * length; }
  int64_t heads() const { return kv * headsPerKv; }

  int64_t promptOf(int64_t slot) const { return slot / (group * length); }
  int64_t timeOf(int64_t slot) const { return slot % length; }
  // The token in a slot; -1 where its sequence has ended.
  int64_t tokenOf(int64_t slot) const {
    if (offsets == nullptr) return slot;
    const int64_t sequence = slot / length, token = offsets[sequence] + timeOf(slot);
    return token < offsets[sequence + 1] ? token : -1;
  }
  // The first token that belongs to no sequence.
  int64_t end() const { return offsets == nullptr ? tokens : offsets[sequences()]; }

  // Calls body(head, row) for the heads of a slot, with their rows in [P·kv·G·headsPerKv·T].
  template <class F>
  void eachHead(int64_t slot, F&& body) const {
    const int64_t sequence = slot / length % group;
    int64_t head = 0;
    for (int64_t k = 0; k < kv; ++k) {
      int64_t row = ((promptOf(slot) * kv + k) * group + sequence) * headsPerKv * length + timeOf(slot);
      for (int64_t s = 0; s < headsPerKv; ++s, row += length) body(head++, row);
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

  const float* cos(const Layout& layout, int64_t slot, int64_t width) const {
    return cos_ + layout.promptOf(slot) * promptStride_ + layout.timeOf(slot) * width;
  }
  const float* sin(const Layout& layout, int64_t slot, int64_t width) const {
    return sin_ + layout.promptOf(slot) * promptStride_ + layout.timeOf(slot) * width;
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
  parallelFor(layout.slots(), grainOfRows(layout.heads() * width), [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const int64_t token = layout.tokenOf(slot);
      if (token < 0) {
        layout.eachHead(slot, [&](int64_t, int64_t place) { std::fill_n(y + place * width, width, T{}); });
        continue;
      }
      const float* const cos = rotation ? rotation.cos(layout, slot, width) : nullptr;
      const float* const sin = rotation ? rotation.sin(layout, slot, width) : nullptr;
      layout.eachHead(slot, [&](int64_t head, int64_t place) {
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

// From dy by head, with the rotation undone, to rows of `stride` elements: dx = dy·cos + rotᵀ(dy·sin).
template <class S, class T>
void toTokens(const Layout& layout, const S* dy, const Rotation& rotation, int64_t width, T* dx, int64_t stride) {
  const int64_t half = width / 2;
  for (int64_t token = layout.end(); token < layout.tokens; ++token) {
    std::fill_n(dx + token * stride, layout.heads() * width, T{});
  }
  parallelFor(layout.slots(), grainOfRows(layout.heads() * width), [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const int64_t token = layout.tokenOf(slot);
      if (token < 0) continue;
      const float* const cos = rotation ? rotation.cos(layout, slot, width) : nullptr;
      const float* const sin = rotation ? rotation.sin(layout, slot, width) : nullptr;
      layout.eachHead(slot, [&](int64_t head, int64_t place) {
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
    const Layout layout = layout_.packed(call, 4);
    const int64_t heads = layout.heads(), row = x.columns(), width = row / heads;
    expect(x.rows() == layout.tokens && width * heads == row,
           "x: expected [" + std::to_string(layout.tokens) + ", " + std::to_string(heads) + "·dh], got [" +
               std::to_string(x.rows()) + ", " + std::to_string(row) + "]");
    const float* const bias = call.elements<float>(1, row, true);
    const Rotation rotation(call, 2, layout, width);
    T* const y = call.output<T>(0, {layout.sequences() * heads, layout.length, width});
    toHeads(layout, x.data, row, bias, rotation, width, y);
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
    const Layout layout = layout_.packed(call, 3);
    const int64_t heads = layout.heads(), width = dy.shape[2], row = heads * width;
    expect(dy.shape[0] == layout.sequences() * heads && dy.shape[1] == layout.length,
           "dy: expected [" + std::to_string(layout.sequences() * heads) + ", " +
               std::to_string(layout.length) + ", dh], got [" + std::to_string(dy.shape[0]) + ", " +
               std::to_string(dy.shape[1]) + ", " + std::to_string(width) + "]");
    const Rotation rotation(call, 1, layout, width);
    toTokens(layout, dy.data, rotation, width, call.output<T>(0, {layout.tokens, row}), row);
  }

 private:
  Layout layout_;
};

// Queries, keys and values of one joined projection [N, (kv·headsPerKv + 2·kv)·dh]: queries and keys rotated by tables of
// their own, values as they are.
template <class T>
class QkvHeads {
 public:
  explicit QkvHeads(const Attributes& attributes) : layout_(attributes) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<T>(0);
    const Layout queries = layout_.packed(call, 6), keys = queries.perKey();
    const int64_t heads = queries.heads(), kv = keys.heads(), row = x.columns(), width = row / (heads + 2 * kv);
    expect(x.rows() == queries.tokens && width * (heads + 2 * kv) == row, "the joined projection does not fit the heads");
    const float* const bias = call.elements<float>(1, row, true);
    const Rotation ofQueries(call, 2, queries, width), ofKeys(call, 4, keys, width);
    const int64_t rows = keys.sequences() * kv;
    const auto part = [&](const Layout& layout, int64_t head, const Rotation& rotation, T* y) {
      toHeads(layout, x.data + head * width, row, bias == nullptr ? nullptr : bias + head * width, rotation, width, y);
    };
    part(queries, 0, ofQueries, call.output<T>(0, {rows * queries.headsPerKv, queries.length, width}));
    part(keys, heads, ofKeys, call.output<T>(1, {rows, keys.length, width}));
    part(keys, heads + kv, Rotation(), call.output<T>(2, {rows, keys.length, width}));
  }

 private:
  Layout layout_;
};

template <class T>
class QkvHeadsGrad {
 public:
  explicit QkvHeadsGrad(const Attributes& attributes) : layout_(attributes) {}

  void operator()(Call& call) const {
    const auto dq = call.input<T>(0);
    expect(dq.shape.size() == 3, "dq: expected three axes, got " + std::to_string(dq.shape.size()));
    const Layout queries = layout_.packed(call, 7), keys = queries.perKey();
    const int64_t heads = queries.heads(), kv = keys.heads(), width = dq.shape[2], row = (heads + 2 * kv) * width;
    expect(dq.count == queries.slots() * heads * width, "dq does not fit the heads");
    const float* const dk = call.elements<float>(1, keys.slots() * kv * width);
    const float* const dv = call.elements<float>(2, keys.slots() * kv * width);
    const Rotation ofQueries(call, 3, queries, width), ofKeys(call, 5, keys, width);
    T* const dx = call.output<T>(0, {queries.tokens, row});
    toTokens(queries, dq.data, ofQueries, width, dx, row);
    toTokens(keys, dk, ofKeys, width, dx + heads * width, row);
    toTokens(keys, dv, Rotation(), width, dx + (heads + kv) * width, row);
  }

 private:
  Layout layout_;
};

const Registration registration([] {
  addBothTypes<RopeHeads>("WeirRopeHeads");
  addKernel<RopeHeadsGrad<float, float>>("WeirRopeHeadsGrad", {{"S", Element::kFloat}, {"T", Element::kFloat}});
  addKernel<RopeHeadsGrad<float, bfloat16>>("WeirRopeHeadsGrad", {{"S", Element::kFloat}, {"T", Element::kBfloat16}});
  addKernel<RopeHeadsGrad<bfloat16, float>>("WeirRopeHeadsGrad", {{"S", Element::kBfloat16}, {"T", Element::kFloat}});
  addKernel<RopeHeadsGrad<bfloat16, bfloat16>>("WeirRopeHeadsGrad", {{"S", Element::kBfloat16}, {"T", Element::kBfloat16}});
  addBothTypes<QkvHeads>("WeirQkvHeads");
  addBothTypes<QkvHeadsGrad>("WeirQkvHeadsGrad");
});

}  // namespace
}  // namespace weir
