// silu(gate)·up and its gradient, element by element in float. silu(g) = g·σ(g), silu'(g) = σ(g)·(1 + g − silu(g)).
#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

template <class T>
struct SwiGlu {
  explicit SwiGlu(const Attributes&) {}

  void operator()(Call& call) const {
    const auto gate = call.input<T>(0);
    const T* const up = call.elements<T>(1, gate.count);
    T* const act = call.outputOver<T>(0, gate.shape, 0);
    parallelElements(gate.count, [&](int64_t begin, int64_t end) {
      eachVector(end - begin, [&](int64_t i, auto lanes) {
        const int64_t at = begin + i;
        const Floats g = lanes.get(gate.data + at);
        lanes.put(act + at, g * sigmoid(g) * lanes.get(up + at));
      });
    });
  }
};

template <class T>
struct SwiGluGrad {
  explicit SwiGluGrad(const Attributes&) {}

  void operator()(Call& call) const {
    const auto gate = call.input<T>(1);
    const T* const dAct = call.elements<T>(0, gate.count);
    const T* const up = call.elements<T>(2, gate.count);
    T* const dGate = call.outputOver<T>(0, gate.shape, 0);
    T* const dUp = call.outputOver<T>(1, gate.shape, 1);
    T* const act = call.outputOver<T>(2, gate.shape, 2);
    parallelElements(gate.count, [&](int64_t begin, int64_t end) {
      eachVector(end - begin, [&](int64_t i, auto lanes) {
        const int64_t at = begin + i;
        const Floats d = lanes.get(dAct + at), g = lanes.get(gate.data + at), u = lanes.get(up + at);
        const Floats s = sigmoid(g);
        const Floats silu = g * s;
        lanes.put(dGate + at, d * u * (s * (1.0f + g - silu)));
        lanes.put(dUp + at, d * silu);
        lanes.put(act + at, silu * u);
      });
    });
  }
};

const Registration registration([] {
  addBothTypes<SwiGlu>("WeirSwiGlu");
  addBothTypes<SwiGluGrad>("WeirSwiGluGrad");
});

}  // namespace
}  // namespace weir
