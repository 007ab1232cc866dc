// The operations of attention over whole rows: WeirAttention and WeirAttentionGrad.
#include "attention/attention.h"
#include "core/operation.h"

namespace weir {
namespace {

struct Heads {
  explicit Heads(const Attributes& attributes)
      : prompts(attributes.integer("prompts")), group(attributes.integer("group")), kv(attributes.integer("kv")),
        headsPerKv(attributes.integer("heads_per_kv")), length(attributes.integer("length")) {}

  template <class T>
  AttentionShape shapeOf(const Input<T>& q, const Input<T>& prefix) const {
    const int64_t rows = prompts * kv * group * headsPerKv * length;
    expect(rows > 0 && q.count % rows == 0, "q does not fit the heads");
    const int64_t dh = q.count / rows;
    return {prompts, kv, group, headsPerKv, length, dh, prefix.count / (prompts * kv * dh)};
  }

  int64_t prompts, group, kv, headsPerKv, length;
};

template <class T>
const T* orNull(const Input<T>& input) {
  return input.count == 0 ? nullptr : input.data;
}

template <class T>
struct Attention : Heads {
  using Heads::Heads;
  void operator()(Call& call) const {
    const auto q = call.input<T>(0), k = call.input<T>(1), v = call.input<T>(2);
    const auto kp = call.input<T>(3), vp = call.input<T>(4);
    const auto lengths = call.input<int32_t>(5);
    const AttentionShape shape = shapeOf(q, kp);
    T* o = call.output<T>(0, q.shape);
    float* lse = call.output<float>(1, {prompts * kv * group * headsPerKv, length});
    attentionForward<T>(shape, q.data, k.data, v.data, orNull(kp), orNull(vp), lengths.data,
                             o, lse);
  }
};

template <class T>
struct AttentionGrad : Heads {
  using Heads::Heads;
  void operator()(Call& call) const {
    const auto q = call.input<T>(0), k = call.input<T>(1), v = call.input<T>(2);
    const auto kp = call.input<T>(3), vp = call.input<T>(4);
    const auto lengths = call.input<int32_t>(5);
    const AttentionShape shape = shapeOf(q, kp);
    const T* o = call.elements<T>(6, q.count);
    const float* lse = call.elements<float>(7, prompts * kv * group * headsPerKv * length);
    const T* dO = call.elements<T>(8, q.count);
    T* dq = call.output<T>(0, q.shape);
    float* dk = call.output<float>(1, k.shape);
    float* dv = call.output<float>(2, v.shape);
    float* dkp = call.output<float>(3, kp.shape);
    float* dvp = call.output<float>(4, vp.shape);
    attentionBackward<T>(shape, q.data, k.data, v.data, orNull(kp), orNull(vp), lengths.data,
                              o, lse, dO, dq, dk, dv, kp.count == 0 ? nullptr : dkp,
                              kp.count == 0 ? nullptr : dvp);
  }
};

const Registration registration([] {
  addBothTypes<Attention>("WeirAttention");
  addBothTypes<AttentionGrad>("WeirAttentionGrad");
});

}  // namespace
}  // namespace weir
