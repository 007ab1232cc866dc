// Owns how kernels meet TensorFlow's C API: operations and kernels are declared in a few lines, a call's tensors are typed
// and freed, and a failure is an exception that becomes the call's status.
// Invariant: everything is registered once per process, by `registerAll`.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "numbers.h"
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"

namespace weir {

using Shape = std::vector<int64_t>;

inline int64_t elementsOf(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

// What was expected and what came; ends the call, not the process. Only outside of parallelFor.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void expect(bool holds, const std::string& message) {
  if (!holds) throw Failure(message);
}

template <class T>
constexpr TF_DataType dataType() {
  if constexpr (std::is_same_v<T, Bf16>) return TF_BFLOAT16;
  else if constexpr (std::is_same_v<T, int32_t>) return TF_INT32;
  else return TF_FLOAT;
}

// Attributes of a node, read when its kernel is made.
class Attributes {
 public:
  explicit Attributes(TF_OpKernelConstruction* context) : context_(context) {}
  float real(const char* name) const;
  int64_t integer(const char* name) const;

 private:
  TF_OpKernelConstruction* context_;
};

template <class T>
struct Input {
  const T* data;
  Shape shape;
  int64_t count;

  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape[1]; }
};

// One run of a kernel: inputs and outputs by place, their memory valid until the call ends. TensorFlow holds the inputs
// meanwhile; a handle of our own would keep their memory from being given to an output.
class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context) {}
  Call(const Call&) = delete;
  ~Call();

  template <class T>
  Input<T> input(int place) {
    Input<T> found;
    found.data = static_cast<const T*>(takeInput(place, dataType<T>(), found.shape));
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
    return static_cast<T*>(takeOutput(place, dataType<T>(), shape, -1));
  }

  // An output in the memory of an input that nobody else reads, else in new memory. The input stays readable where it
  // is, so a kernel may write an element only after it has read everything that the element's place still holds.
  template <class T>
  T* outputOver(int place, const Shape& shape, int input) {
    return static_cast<T*>(takeOutput(place, dataType<T>(), shape, input));
  }

 private:
  const void* takeInput(int place, TF_DataType type, Shape& shape);
  void* takeOutput(int place, TF_DataType type, const Shape& shape, int over);

  TF_OpKernelContext* context_;
  std::vector<TF_Tensor*> outputs_;
};

// Declares an operation; specifications as in TensorFlow's REGISTER_OP. Output shapes are left unknown to graphs.
void registerOperation(const char* name, std::initializer_list<const char*> inputs,
                       std::initializer_list<const char*> outputs, std::initializer_list<const char*> attributes);

struct TypeConstraint {
  const char* attribute;
  TF_DataType type;
};

void registerKernelFunctions(const char* operation, std::initializer_list<TypeConstraint> types,
                             void* (*create)(TF_OpKernelConstruction*), void (*compute)(void*, TF_OpKernelContext*),
                             void (*destroy)(void*));
void failConstruction(TF_OpKernelConstruction* context, const char* message);
void failCall(TF_OpKernelContext* context, const char* message);

// Kernels take turns: each spreads over all cores itself, and two at once would push each other out of caches and cores.
std::mutex& turns();

// Registers class K for the CPU: made from Attributes, run by `void operator()(Call&) const`.
template <class K>
void registerKernel(const char* operation, std::initializer_list<TypeConstraint> types) {
  registerKernelFunctions(
      operation, types,
      [](TF_OpKernelConstruction* context) -> void* {
        try {
          return new K(Attributes(context));
        } catch (const std::exception& fault) {
          failConstruction(context, fault.what());
          return nullptr;
        }
      },
      [](void* kernel, TF_OpKernelContext* context) {
        try {
          const std::lock_guard<std::mutex> turn(turns());
          Call call(context);
          (*static_cast<const K*>(kernel))(call);
        } catch (const std::exception& fault) {
          failCall(context, fault.what());
        }
      },
      [](void* kernel) { delete static_cast<K*>(kernel); });
}

// Registers K<float> and K<Bf16> by the attribute T.
template <template <class> class K>
void registerBothTypes(const char* operation) {
  registerKernel<K<float>>(operation, {{"T", TF_FLOAT}});
  registerKernel<K<Bf16>>(operation, {{"T", TF_BFLOAT16}});
}

// The usual attribute T.
constexpr const char* kTypes = "T: {float, bfloat16}";

// Runs `body` in `registerAll`: `static const Registration registration([] { … });` in each kernel's file.
class Registration {
 public:
  explicit Registration(void (*body)());
};

// Registers everything, in a process where that has not been done yet. Throws Failure.
void registerAll();

}  // namespace weir
