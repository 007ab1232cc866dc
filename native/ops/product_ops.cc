// The operation of the large matrix products: WeirProduct.
#include "gemm/product.h"
#include "core/operation.h"

namespace weir {
namespace {

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
    product<T, S>({rows, columns, inner, transposeA, transposeB}, a.data,
                            b.data, plus, c);
  }

  bool transposeA, transposeB;
};

const Registration registration([] {
  addKernel<Product<float, float>>("WeirProduct", {{"T", Element::kFloat}, {"S", Element::kFloat}});
  addKernel<Product<bfloat16, float>>("WeirProduct", {{"T", Element::kBfloat16}, {"S", Element::kFloat}});
  addKernel<Product<bfloat16, bfloat16>>("WeirProduct", {{"T", Element::kBfloat16}, {"S", Element::kBfloat16}});
});

}  // namespace
}  // namespace weir
