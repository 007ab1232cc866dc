// The side of core/operation.h that talks to TensorFlow's C API.
#include "tensorflow/registry.h"

#include <array>
#include <initializer_list>
#include <mutex>
#include <utility>

#include "core/operation.h"
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"

namespace weir {
namespace {

class Status {
 public:
  Status() : status_(TF_NewStatus()) {}
  Status(const Status&) = delete;
  ~Status() { TF_DeleteStatus(status_); }
  TF_Status* get() { return status_; }
  void check() {
    if (TF_GetCode(status_) != TF_OK) throw Failure(TF_Message(status_));
  }

 private:
  TF_Status* status_;
};

TF_DataType dataTypeOf(Element element) {
  switch (element) {
    case Element::kBfloat16:
      return TF_BFLOAT16;
    case Element::kInt32:
      return TF_INT32;
    default:
      return TF_FLOAT;
  }
}

class NodeAttributes final : public Attributes {
 public:
  explicit NodeAttributes(TF_OpKernelConstruction* context) : context_(context) {}

  float real(const char* name) const override {
    Status status;
    float value = 0;
    TF_OpKernelConstruction_GetAttrFloat(context_, name, &value, status.get());
    status.check();
    return value;
  }

  int64_t integer(const char* name) const override {
    Status status;
    int64_t value = 0;
    TF_OpKernelConstruction_GetAttrInt64(context_, name, &value, status.get());
    status.check();
    return value;
  }

 private:
  TF_OpKernelConstruction* context_;
};

// TensorFlow holds the inputs during the call; a handle of our own would keep their memory from being given to an output.
class NodeCall final : public Call {
 public:
  explicit NodeCall(TF_OpKernelContext* context) : context_(context) {}
  NodeCall(const NodeCall&) = delete;
  ~NodeCall() override {
    for (TF_Tensor* tensor : outputs_) TF_DeleteTensor(tensor);
  }

 protected:
  const void* takeInput(int place, Element element, Shape& shape) override {
    Status status;
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, place, &tensor, status.get());
    status.check();
    const bool fits = TF_TensorType(tensor) == dataTypeOf(element);
    shape.resize(TF_NumDims(tensor));
    for (size_t axis = 0; axis < shape.size(); ++axis) shape[axis] = TF_Dim(tensor, static_cast<int>(axis));
    const void* const data = TF_TensorData(tensor);
    TF_DeleteTensor(tensor);
    expect(fits, "input " + std::to_string(place) + " has another element type");
    return data;
  }

  void* takeOutput(int place, Element element, const Shape& shape, int over) override {
    Status status;
    const int axes = static_cast<int>(shape.size());
    TF_Tensor* tensor = over >= 0 ? TF_ForwardInputOrAllocateOutput(context_, &over, 1, place, shape.data(), axes,
                                                                    nullptr, status.get())
                                  : TF_AllocateOutput(context_, place, dataTypeOf(element), shape.data(), axes,
                                                      elementsOf(shape) * bytesOf(element), status.get());
    status.check();
    outputs_.push_back(tensor);
    return TF_TensorData(tensor);
  }

 private:
  TF_OpKernelContext* context_;
  std::vector<TF_Tensor*> outputs_;
};

// Specifications as in TensorFlow's REGISTER_OP. Output shapes are left unknown to graphs.
void registerOperation(const char* name, std::initializer_list<const char*> inputs,
                       std::initializer_list<const char*> outputs, std::initializer_list<const char*> attributes) {
  TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder(name);
  for (const char* input : inputs) TF_OpDefinitionBuilderAddInput(builder, input);
  for (const char* output : outputs) TF_OpDefinitionBuilderAddOutput(builder, output);
  for (const char* attribute : attributes) TF_OpDefinitionBuilderAddAttr(builder, attribute);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, TF_ShapeInferenceContextSetUnknownShape);
  Status status;
  TF_RegisterOpDefinition(builder, status.get());
  status.check();
}

void registerOperations() {
#include "tensorflow/operations.inc"
}

// Kernels run one at a time: each spreads over all cores itself, and two at once would compete for caches and cores.
std::mutex& oneAtATime() {
  static std::mutex* const made = new std::mutex();
  return *made;
}

// TensorFlow takes plain functions without a context argument, so each kernel has a numbered function of its own.
constexpr size_t kSlots = 64;

template <size_t slot>
void* create(TF_OpKernelConstruction* context) {
  try {
    return kernelEntries()[slot].make(NodeAttributes(context)).release();
  } catch (const std::exception& fault) {
    Status status;
    TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, fault.what());
    TF_OpKernelConstruction_Failure(context, status.get());
    return nullptr;
  }
}

void compute(void* kernel, TF_OpKernelContext* context) {
  try {
    const std::lock_guard<std::mutex> alone(oneAtATime());
    NodeCall call(context);
    static_cast<const Kernel*>(kernel)->run(call);
  } catch (const std::exception& fault) {
    Status status;
    TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, fault.what());
    TF_OpKernelContext_Failure(context, status.get());
  }
}

void destroy(void* kernel) { delete static_cast<Kernel*>(kernel); }

using Create = void* (*)(TF_OpKernelConstruction*);

template <size_t... slots>
constexpr std::array<Create, sizeof...(slots)> creators(std::index_sequence<slots...>) {
  return {&create<slots>...};
}

void registerKernels() {
  constexpr std::array<Create, kSlots> makers = creators(std::make_index_sequence<kSlots>());
  const std::vector<KernelEntry>& entries = kernelEntries();
  expect(entries.size() <= kSlots, "there are more kernels than slots for them in registry.cc");
  for (size_t slot = 0; slot < entries.size(); ++slot) {
    const KernelEntry& entry = entries[slot];
    Status status;
    TF_KernelBuilder* builder = TF_NewKernelBuilder(entry.operation.c_str(), "CPU", makers[slot], compute, destroy);
    std::string name = entry.operation;
    for (const auto& [attribute, element] : entry.types) {
      TF_KernelBuilder_TypeConstraint(builder, attribute.c_str(), dataTypeOf(element), status.get());
      status.check();
      name += "_" + std::to_string(dataTypeOf(element));
    }
    TF_RegisterKernelBuilder(name.c_str(), builder, status.get());
    status.check();
  }
}

}  // namespace

void registerAll() {
  static std::once_flag once;
  std::call_once(once, [] {
    registerOperations();
    registerKernels();
  });
}

}  // namespace weir
