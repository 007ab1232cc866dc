// The operations of attention over whole rows: WeirAttention and WeirAttentionGrad.
#include "../attention/attention.h"
#include "registry.h"

namespace weir {
namespace {

struct Heads {
  explicit Heads(const Attributes& attributes)
      : prompts(attributes.integer("prompts")), group(attributes.integer("group")), kv(attributes.integer("kv")),
        share(attributes.integer("share")), length(attributes.integer("length")) {}

  template <class T>
  AttentionShape shapeOf(const Input<T>& q, const Input<T>& prefix) const {
    const int64_t rows = prompts * kv * group * share * length;
    expect(rows > 0 && q.count % rows == 0, "q does not fit the heads");
    const int64_t dh = q.count / rows;
    return {prompts, kv, group, share, length, dh, prefix.count / (prompts * kv * dh)};
  }

  int64_t prompts, group, kv, share, length;
};

// The attention kernels name the same storage by a type of their own.
template <class T>
using Own = std::conditional_t<std::is_same_v<T, Bf16>, bfloat16, float>;

template <class T>
const Own<T>* own(const T* data) {
  return reinterpret_cast<const Own<T>*>(data);
}

template <class T>
Own<T>* own(T* data) {
  return reinterpret_cast<Own<T>*>(data);
}

template <class T>
const Own<T>* orNull(const Input<T>& input) {
  return input.count == 0 ? nullptr : own<T>(input.data);
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
    float* lse = call.output<float>(1, {prompts * kv * group * share, length});
    attentionForward<Own<T>>(shape, own<T>(q.data), own<T>(k.data), own<T>(v.data), orNull(kp), orNull(vp), lengths.data,
                             own<T>(o), lse);
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
    const float* lse = call.elements<float>(7, prompts * kv * group * share * length);
    const T* dO = call.elements<T>(8, q.count);
    T* dq = call.output<T>(0, q.shape);
    float* dk = call.output<float>(1, k.shape);
    float* dv = call.output<float>(2, v.shape);
    float* dkp = call.output<float>(3, kp.shape);
    float* dvp = call.output<float>(4, vp.shape);
    attentionBackward<Own<T>>(shape, own<T>(q.data), own<T>(k.data), own<T>(v.data), orNull(kp), orNull(vp), lengths.data,
                              own<T>(o), lse, own<T>(dO), own<T>(dq), dk, dv, kp.count == 0 ? nullptr : dkp,
                              kp.count == 0 ? nullptr : dvp);
  }
};

constexpr std::initializer_list<const char*> kHeads = {"prompts: int", "group: int", "kv: int", "share: int",
                                                       "length: int", kTypes};

const Registration registration([] {
  registerOperation("WeirAttention", {"q: T", "k: T", "v: T", "kp: T", "vp: T", "lengths: int32"},
                    {"o: T", "lse: float"}, kHeads);
  registerBothTypes<Attention>("WeirAttention");
  registerOperation("WeirAttentionGrad",
                    {"q: T", "k: T", "v: T", "kp: T", "vp: T", "lengths: int32", "o: T", "lse: float", "d_o: T"},
                    {"dq: T", "dk: float", "dv: float", "dkp: float", "dvp: float"}, kHeads);
  registerBothTypes<AttentionGrad>("WeirAttentionGrad");
});

}  // namespace
}  // namespace weir
