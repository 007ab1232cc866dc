// The side of registry.h that talks to TensorFlow.
#include "registry.h"

#include <mutex>

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

std::vector<void (*)()>& registrations() {
  static std::vector<void (*)()> all;
  return all;
}

}  // namespace

float Attributes::real(const char* name) const {
  Status status;
  float value = 0;
  TF_OpKernelConstruction_GetAttrFloat(context_, name, &value, status.get());
  status.check();
  return value;
}

int64_t Attributes::integer(const char* name) const {
  Status status;
  int64_t value = 0;
  TF_OpKernelConstruction_GetAttrInt64(context_, name, &value, status.get());
  status.check();
  return value;
}

Call::~Call() {
  for (TF_Tensor* tensor : outputs_) TF_DeleteTensor(tensor);
}

const void* Call::takeInput(int place, TF_DataType type, Shape& shape) {
  Status status;
  TF_Tensor* tensor = nullptr;
  TF_GetInput(context_, place, &tensor, status.get());
  status.check();
  const bool fits = TF_TensorType(tensor) == type;
  shape.resize(TF_NumDims(tensor));
  for (size_t axis = 0; axis < shape.size(); ++axis) shape[axis] = TF_Dim(tensor, static_cast<int>(axis));
  const void* const data = TF_TensorData(tensor);
  TF_DeleteTensor(tensor);
  expect(fits, "input " + std::to_string(place) + " has another element type");
  return data;
}

void* Call::takeOutput(int place, TF_DataType type, const Shape& shape, int over) {
  Status status;
  const int axes = static_cast<int>(shape.size());
  TF_Tensor* tensor =
      over >= 0 ? TF_ForwardInputOrAllocateOutput(context_, &over, 1, place, shape.data(), axes, nullptr, status.get())
                : TF_AllocateOutput(context_, place, type, shape.data(), axes,
                                    elementsOf(shape) * TF_DataTypeSize(type), status.get());
  status.check();
  outputs_.push_back(tensor);
  return TF_TensorData(tensor);
}

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

void registerKernelFunctions(const char* operation, std::initializer_list<TypeConstraint> types,
                             void* (*create)(TF_OpKernelConstruction*), void (*compute)(void*, TF_OpKernelContext*),
                             void (*destroy)(void*)) {
  Status status;
  TF_KernelBuilder* builder = TF_NewKernelBuilder(operation, "CPU", create, compute, destroy);
  std::string name = operation;
  for (const auto& [attribute, type] : types) {
    TF_KernelBuilder_TypeConstraint(builder, attribute, type, status.get());
    status.check();
    name += "_" + std::to_string(type);
  }
  TF_RegisterKernelBuilder(name.c_str(), builder, status.get());
  status.check();
}

void failConstruction(TF_OpKernelConstruction* context, const char* message) {
  Status status;
  TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, message);
  TF_OpKernelConstruction_Failure(context, status.get());
}

void failCall(TF_OpKernelContext* context, const char* message) {
  Status status;
  TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, message);
  TF_OpKernelContext_Failure(context, status.get());
}

std::mutex& turns() {
  static std::mutex* const made = new std::mutex();
  return *made;
}

Registration::Registration(void (*body)()) { registrations().push_back(body); }

void registerAll() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (void (*body)() : registrations()) body();
  });
}

}  // namespace weir
