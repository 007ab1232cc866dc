// The operations of decoding: WeirPackMatrix, WeirPackedProduct, WeirDecodeAttention, WeirSelectToken.
#include "attention/decode_attention.h"
#include "gemm/packed_product.h"
#include "core/operation.h"
#include "ops/select_token.h"

namespace weir {
namespace {

template <class T>
struct PackMatrix {
  explicit PackMatrix(const Attributes&) {}
  void operator()(Call& call) const {
    const auto w = call.matrix<float>(0);
    packMatrix<T>(w.data, w.rows(), w.columns(), call.output<T>(0, {packedElements(w.rows(), w.columns())}));
  }
};

template <class T>
struct PackedProduct {
  explicit PackedProduct(const Attributes& attributes)
      : out(attributes.integer("out")), keep(attributes.integer("keep_plain") != 0) {}
  void operator()(Call& call) const {
    const auto x = call.matrix<float>(0);
    const T* packed = call.elements<T>(1, packedElements(out, x.columns()));
    const float* bias = call.elements<float>(2, out, true);
    const float* gate = call.elements<float>(3, x.rows() * out, true);
    float* const y = call.output<float>(0, {x.rows(), out});
    float* const plain = call.output<float>(1, keep ? Shape{x.rows(), out} : Shape{0});
    packedProduct<T>(x.data, x.rows(), x.columns(), packed, out, bias, gate, y, keep ? plain : nullptr);
  }
  int64_t out;
  bool keep;
};

template <class T>
struct DecodeAttention {
  explicit DecodeAttention(const Attributes& attributes)
      : prompts(attributes.integer("prompts")), group(attributes.integer("group")), kv(attributes.integer("kv")),
        headsPerKv(attributes.integer("heads_per_kv")) {}

  void operator()(Call& call) const {
    const auto qkv = call.matrix<float>(0);
    const int64_t rows = prompts * group, cacheRows = rows * kv;
    expect(qkv.rows() == rows && qkv.columns() % (kv * headsPerKv + 2 * kv) == 0, "qkv does not fit the heads");
    const int64_t dh = qkv.columns() / (kv * headsPerKv + 2 * kv);
    const auto prefixK = call.input<T>(4);
    const auto ownK = call.input<T>(6);
    const auto blockK = call.input<T>(10);
    DecodeShape shape{prompts, kv, group, headsPerKv, dh, prefixK.count / (prompts * kv * dh), ownK.count / (cacheRows * dh),
                      blockK.count / (cacheRows * dh)};
    DecodeCaches<T> caches;
    caches.prefixK = prefixK.data;
    caches.prefixV = call.elements<T>(5, prefixK.count);
    caches.prefixLengths = call.elements<int32_t>(3, prompts);
    caches.ownK = ownK.data;
    caches.ownV = call.elements<T>(7, ownK.count);
    caches.first = call.elements<int32_t>(8, prompts);
    caches.used = *call.elements<int32_t>(9, 1);
    caches.step = *call.elements<int32_t>(12, 1);
    expect(caches.used <= shape.columns && caches.step < shape.blockColumns, "expected a column within the caches");
    const T* blockV = call.elements<T>(11, blockK.count);
    caches.blockK = moved(call, 1, blockK.data, blockK.shape, 10);
    caches.blockV = moved(call, 2, blockV, blockK.shape, 11);
    decodeAttention<T>(shape, qkv.data, call.elements<float>(1, prompts * dh), call.elements<float>(2, prompts * dh),
                       caches, call.output<float>(0, {rows, kv * headsPerKv * dh}),
                       call.output<float>(3, {rows, kv * headsPerKv}));
  }

  // The block's own memory where no other operation reads it, else a copy.
  static T* moved(Call& call, int place, const T* from, const Shape& shape, int input) {
    T* to = call.outputOver<T>(place, shape, input);
    if (to != from) std::memcpy(to, from, static_cast<size_t>(elementsOf(shape)) * sizeof(T));
    return to;
  }

  int64_t prompts, group, kv, headsPerKv;
};

struct SelectToken {
  explicit SelectToken(const Attributes& attributes)
      : greedy(attributes.integer("greedy") != 0), topK(attributes.integer("top_k")),
        nucleus(attributes.integer("nucleus") != 0) {}
  void operator()(Call& call) const {
    const auto logits = call.matrix<float>(0);
    const float* uniforms = call.elements<float>(1, logits.rows());
    const SelectOptions options{greedy, topK, nucleus, *call.elements<float>(2, 1)};
    const Shape shape{logits.rows()};
    selectTokens(logits.data, logits.rows(), logits.columns(), uniforms, options, call.output<int32_t>(0, shape),
                 call.output<float>(1, shape), call.output<float>(2, shape));
  }
  bool greedy;
  int64_t topK;
  bool nucleus;
};

const Registration registration([] {
  addBothTypes<PackMatrix>("WeirPackMatrix");
  addBothTypes<PackedProduct>("WeirPackedProduct");
  addBothTypes<DecodeAttention>("WeirDecodeAttention");
  addKernel<SelectToken>("WeirSelectToken", {});
});

}  // namespace
}  // namespace weir
