// The operation of the large matrix products: WeirProduct.
#include "../attention/product.h"
#include "registry.h"

namespace weir {
namespace {

// The products name the same storage of a bfloat16 by a type of their own.
template <class T>
using Own = std::conditional_t<std::is_same_v<T, Bf16>, bfloat16, float>;

// c = a·b + plus, either side transposed where it says so; plus is [0] or, for a float c, of c's shape.
template <class T, class S>
struct Product {
  explicit Product(const Attributes& attributes)
      : transposeA(attributes.integer("transpose_a") != 0), transposeB(attributes.integer("transpose_b") != 0) {}

  void operator()(Call& call) const {
    const auto a = call.matrix<T>(0), b = call.matrix<T>(1);
    const int64_t rows = transposeA ? a.columns() : a.rows(), inner = transposeA ? a.rows() : a.columns();
    const int64_t columns = transposeB ? b.rows() : b.columns();
    expect((transposeB ? b.columns() : b.rows()) == inner, "the sides have different inner sizes");
    expect(rows > 0 && columns > 0 && inner > 0, "a side is empty");
    const float* const plus = call.elements<float>(2, rows * columns, true);
    expect(plus == nullptr || std::is_same_v<S, float>, "only a float result can be added to something");
    const Shape shape{rows, columns};
    S* const c = plus == nullptr ? call.output<S>(0, shape) : call.outputOver<S>(0, shape, 2);
    product<Own<T>, Own<S>>({rows, columns, inner, transposeA, transposeB}, reinterpret_cast<const Own<T>*>(a.data),
                            reinterpret_cast<const Own<T>*>(b.data), plus, reinterpret_cast<Own<S>*>(c));
  }

  bool transposeA, transposeB;
};

const Registration registration([] {
  registerOperation("WeirProduct", {"a: T", "b: T", "plus: float"}, {"c: S"},
                    {"transpose_a: int", "transpose_b: int", kTypes, "S: {float, bfloat16}"});
  registerKernel<Product<float, float>>("WeirProduct", {{"T", TF_FLOAT}, {"S", TF_FLOAT}});
  registerKernel<Product<Bf16, float>>("WeirProduct", {{"T", TF_BFLOAT16}, {"S", TF_FLOAT}});
  registerKernel<Product<Bf16, Bf16>>("WeirProduct", {{"T", TF_BFLOAT16}, {"S", TF_BFLOAT16}});
});

}  // namespace
}  // namespace weir
