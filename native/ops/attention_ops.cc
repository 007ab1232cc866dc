// The operations of attention over whole rows: WeirAttention and WeirAttentionGrad.
#include "attention/attention.h"
#include "core/operation.h"

namespace weir {
namespace {

// What both operations read, in the same places, checked against each other.
template <class T>
struct Operands {
  Input<T> q, k, v, kp, vp;
  AttentionInputs<T> inputs;
  AttentionShape shape;

  int64_t queries() const { return q.count / shape.headDim; }
};

class Heads {
 public:
  explicit Heads(const Attributes& attributes)
      : prompts_(attributes.integer("prompts")), group_(attributes.integer("group")), kv_(attributes.integer("kv")),
        headsPerKv_(attributes.integer("heads_per_kv")), length_(attributes.integer("length")) {}

  template <class T>
  Operands<T> operands(Call& call) const {
    Operands<T> y{call.input<T>(0), call.input<T>(1), call.input<T>(2), call.input<T>(3), call.input<T>(4), {}, {}};
    const int64_t keys = prompts_ * kv_ * group_ * length_, queries = keys * headsPerKv_;
    expect(queries > 0 && y.q.count > 0 && y.q.count % queries == 0, "q does not fit the heads");
    const int64_t dh = y.q.count / queries, prefixes = prompts_ * kv_ * dh;
    expect(y.k.count == keys * dh && y.v.count == keys * dh, "k or v does not fit the heads");
    expect(y.kp.count % prefixes == 0 && y.vp.count == y.kp.count, "kp or vp does not fit the heads");
    const bool prefixed = y.kp.count > 0;
    const int32_t* lengths = prefixed ? call.elements<int32_t>(5, prompts_) : nullptr;
    y.inputs = {y.q.data, y.k.data, y.v.data, prefixed ? y.kp.data : nullptr, prefixed ? y.vp.data : nullptr, lengths};
    y.shape = {prompts_, kv_, group_, headsPerKv_, length_, dh, y.kp.count / prefixes};
    return y;
  }
  Shape lseShape() const { return {prompts_ * kv_ * group_ * headsPerKv_, length_}; }

 private:
  int64_t prompts_, group_, kv_, headsPerKv_, length_;
};

template <class T>
struct Attention : Heads {
  using Heads::Heads;
  void operator()(Call& call) const {
    const auto in = operands<T>(call);
    T* o = call.output<T>(0, in.q.shape);
    attentionForward<T>(in.shape, in.inputs, o, call.output<float>(1, lseShape()));
  }
};

template <class T>
struct AttentionGrad : Heads {
  using Heads::Heads;
  void operator()(Call& call) const {
    const auto in = operands<T>(call);
    const T* o = call.elements<T>(6, in.q.count);
    const float* lse = call.elements<float>(7, in.queries());
    const T* dO = call.elements<T>(8, in.q.count);
    AttentionGradients<T> gradients{call.output<T>(0, in.q.shape), call.output<float>(1, in.k.shape),
                                    call.output<float>(2, in.v.shape), call.output<float>(3, in.kp.shape),
                                    call.output<float>(4, in.vp.shape)};
    if (in.kp.count == 0) gradients.dkp = gradients.dvp = nullptr;
    attentionBackward<T>(in.shape, in.inputs, o, lse, dO, gradients);
  }
};

const Registration registration([] {
  addBothTypes<Attention>("WeirAttention");
  addBothTypes<AttentionGrad>("WeirAttentionGrad");
});

}  // namespace
}  // namespace weir
