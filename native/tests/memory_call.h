// Owns running an operation on plain memory: inputs as vectors, outputs owned by the call. What TensorFlow does in a graph,
// without it.
#pragma once

#include <cstring>
#include <map>

#include "core/operation.h"

namespace weir::testing {

struct Values {
  Element element;
  Shape shape;
  std::vector<char> bytes;

  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
  int64_t count() const { return elementsOf(shape); }
};

template <class T>
Values valuesOf(const std::vector<T>& from, Shape shape) {
  Values values{elementOf<T>(), std::move(shape), std::vector<char>(from.size() * sizeof(T))};
  if (!from.empty()) std::memcpy(values.bytes.data(), from.data(), values.bytes.size());
  return values;
}

inline Values rounded(const std::vector<float>& from, Shape shape) {
  std::vector<bfloat16> narrow(from.size());
  for (size_t i = 0; i < from.size(); ++i) narrow[i] = bfloat16{roundBits(from[i])};
  return valuesOf(narrow, std::move(shape));
}

inline Values absent() { return valuesOf(std::vector<float>(), {0}); }

struct GivenAttributes final : Attributes {
  std::map<std::string, double> values;
  explicit GivenAttributes(std::map<std::string, double> given) : values(std::move(given)) {}
  float real(const char* name) const override { return float(find(name)); }
  int64_t integer(const char* name) const override { return int64_t(find(name)); }

 private:
  double find(const char* name) const {
    const auto found = values.find(name);
    expect(found != values.end(), std::string("no attribute ") + name);
    return found->second;
  }
};

class MemoryCall final : public Call {
 public:
  explicit MemoryCall(std::vector<Values> inputs) : inputs_(std::move(inputs)) {}
  const Values& output(int place) const { return outputs_.at(place); }
  using Call::output;

 protected:
  const void* takeInput(int place, Element element, Shape& shape) override {
    const Values& values = inputs_.at(size_t(place));
    expect(values.element == element, "input " + std::to_string(place) + " has another element type");
    shape = values.shape;
    return values.bytes.data();
  }
  void* takeOutput(int place, Element element, const Shape& shape, int) override {
    // Filled with a pattern, so that what a kernel does not write shows.
    outputs_[place] = Values{element, shape, std::vector<char>(size_t(elementsOf(shape) * bytesOf(element)), char(0x7f))};
    return outputs_[place].bytes.data();
  }

 private:
  std::vector<Values> inputs_;
  std::map<int, Values> outputs_;
};

// Runs the kernel of an operation for these element types of its type attributes.
inline MemoryCall runOperation(const std::string& operation, const std::map<std::string, Element>& types,
                               const std::map<std::string, double>& attributes, std::vector<Values> inputs) {
  for (const KernelEntry& entry : kernelEntries()) {
    if (entry.operation != operation) continue;
    bool fits = true;
    for (const auto& [name, element] : entry.types) fits = fits && types.count(name) == 1 && types.at(name) == element;
    if (!fits) continue;
    MemoryCall call(std::move(inputs));
    entry.make(GivenAttributes(attributes))->run(call);
    return call;
  }
  throw Failure("no kernel of " + operation + " has these types");
}

}  // namespace weir::testing
