// Owns how operations are written: a kernel is made from a node's attributes and run on a call's tensors, both given by whoever
// runs it: TensorFlow (tensorflow/registry.cc) or a test (tests/memory_call.h). This file does not depend on either.
// Invariant: a failure is an exception, which ends the call and not the process; never inside of parallelFor.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "simd/floats.h"

namespace weir {

using Shape = std::vector<int64_t>;

inline int64_t elementsOf(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

// What was expected and what came.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void expect(bool holds, const std::string& message) {
  if (!holds) throw Failure(message);
}

enum class Element { kFloat, kBfloat16, kInt32 };

inline int64_t bytesOf(Element element) { return element == Element::kBfloat16 ? 2 : 4; }

template <class T>
constexpr Element elementOf() {
  if constexpr (std::is_same_v<T, bfloat16>) return Element::kBfloat16;
  else if constexpr (std::is_same_v<T, int32_t>) return Element::kInt32;
  else return Element::kFloat;
}

// Attributes of a node, read when its kernel is made.
class Attributes {
 public:
  virtual ~Attributes() = default;
  virtual float real(const char* name) const = 0;
  virtual int64_t integer(const char* name) const = 0;
};

template <class T>
struct Input {
  const T* data;
  Shape shape;
  int64_t count;

  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape[1]; }
};

// One run of a kernel: inputs and outputs by place, their memory valid until the call ends.
class Call {
 public:
  virtual ~Call() = default;

  template <class T>
  Input<T> input(int place) {
    Input<T> found;
    found.data = static_cast<const T*>(takeInput(place, elementOf<T>(), found.shape));
    found.count = elementsOf(found.shape);
    return found;
  }

  // The same, of two axes.
  template <class T>
  Input<T> matrix(int place) {
    Input<T> found = input<T>(place);
    expect(found.shape.size() == 2, "input " + std::to_string(place) + ": expected two axes, got " +
                                        std::to_string(found.shape.size()));
    return found;
  }

  // An input with `count` elements of any shape; with `optional` also none, which gives null.
  template <class T>
  const T* elements(int place, int64_t count, bool optional = false) {
    const Input<T> found = input<T>(place);
    if (optional && found.count == 0) return nullptr;
    expect(found.count == count, "input " + std::to_string(place) + ": expected " + std::to_string(count) +
                                     " elements, got " + std::to_string(found.count));
    return found.data;
  }

  template <class T>
  T* output(int place, const Shape& shape) {
    return static_cast<T*>(takeOutput(place, elementOf<T>(), shape, -1));
  }

  // An output in the memory of an input that no other operation reads, else in new memory. The input stays readable where it
  // is, so a kernel may write an element only after it has read everything that the element's place still holds.
  template <class T>
  T* outputOver(int place, const Shape& shape, int input) {
    return static_cast<T*>(takeOutput(place, elementOf<T>(), shape, input));
  }

 protected:
  // Throws Failure where the input's elements are of another type.
  virtual const void* takeInput(int place, Element element, Shape& shape) = 0;
  virtual void* takeOutput(int place, Element element, const Shape& shape, int over) = 0;
};

// A kernel whatever its class.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(Call& call) const = 0;
};

// One kernel of an operation, for these values of its type attributes.
struct KernelEntry {
  std::string operation;
  std::vector<std::pair<std::string, Element>> types;
  std::unique_ptr<Kernel> (*make)(const Attributes&);
};

// All kernels of the program. Operations themselves are declared in native/operations.json.
std::vector<KernelEntry>& kernelEntries();

// Adds class K: made from Attributes, run by `void operator()(Call&) const`.
template <class K>
void addKernel(const char* operation, std::vector<std::pair<std::string, Element>> types) {
  struct Made final : Kernel {
    explicit Made(const Attributes& attributes) : kernel(attributes) {}
    void run(Call& call) const override { kernel(call); }
    K kernel;
  };
  kernelEntries().push_back({operation, std::move(types), [](const Attributes& attributes) -> std::unique_ptr<Kernel> {
                               return std::make_unique<Made>(attributes);
                             }});
}

// Adds K<float> and K<bfloat16> by the attribute T.
template <template <class> class K>
void addBothTypes(const char* operation) {
  addKernel<K<float>>(operation, {{"T", Element::kFloat}});
  addKernel<K<bfloat16>>(operation, {{"T", Element::kBfloat16}});
}

// Runs `body` before main: `static const Registration registration([] { … });` in each kernel's file.
struct Registration {
  explicit Registration(void (*body)()) { body(); }
};

}  // namespace weir
