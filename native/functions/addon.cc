// TensorFlow functions for the eager context of tfjs-node. The stock binding runs operations by name, and a function that its
// context knows is such a name; but it has no call that makes one known. This addon has. Called as functions, whole graphs take
// and give tensors that stay on the device; a session, which the binding runs saved models in, takes and gives host memory.
//
// The binding keeps its context to itself, so this addon must be loaded before it, with RTLD_GLOBAL: its TFE_NewContext is then
// the one that the binding calls. It makes the context by TensorFlow's own and remembers it. Only TensorFlow's C API is used.
#include <dlfcn.h>
#include <node_api.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/eager/c_api.h"

namespace {

// Contexts that were made since the addon was loaded; a process has one per thread that loads the binding.
std::vector<TFE_Context*>& contexts() {
  static std::vector<TFE_Context*> made;
  return made;
}

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* pointer) const { Free(pointer); }
};
using Status = std::unique_ptr<TF_Status, Freed<TF_Status, TF_DeleteStatus>>;
using Graph = std::unique_ptr<TF_Graph, Freed<TF_Graph, TF_DeleteGraph>>;
using Function = std::unique_ptr<TF_Function, Freed<TF_Function, TF_DeleteFunction>>;
using DeviceList = std::unique_ptr<TF_DeviceList, Freed<TF_DeviceList, TF_DeleteDeviceList>>;
using Buffer = std::unique_ptr<TF_Buffer, Freed<TF_Buffer, TF_DeleteBuffer>>;
using ImportOptions =
    std::unique_ptr<TF_ImportGraphDefOptions, Freed<TF_ImportGraphDefOptions, TF_DeleteImportGraphDefOptions>>;

void check(const Status& status, const char* what) {
  if (TF_GetCode(status.get()) == TF_OK) return;
  throw std::runtime_error(std::string(what) + ": " + TF_Message(status.get()));
}

// One output of an operation of `graph`, named "node" or "node:2".
TF_Output outputOf(TF_Graph* graph, const std::string& reference) {
  const size_t colon = reference.find(':');
  const std::string node = reference.substr(0, colon);
  TF_Operation* operation = TF_GraphOperationByName(graph, node.c_str());
  if (operation == nullptr) throw std::runtime_error("the graph has no operation " + node);
  return {operation, colon == std::string::npos ? 0 : std::stoi(reference.substr(colon + 1))};
}

std::vector<TF_Output> outputsOf(TF_Graph* graph, const std::vector<std::string>& references) {
  std::vector<TF_Output> found;
  for (const std::string& reference : references) found.push_back(outputOf(graph, reference));
  return found;
}

Function functionOf(TF_Graph* graph, const std::string& name, const std::vector<TF_Output>& inputs,
                    const std::vector<TF_Output>& outputs) {
  Status status(TF_NewStatus());
  Function made(TF_GraphToFunction(graph, name.c_str(), 0, -1, nullptr, static_cast<int>(inputs.size()), inputs.data(),
                                   static_cast<int>(outputs.size()), outputs.data(), nullptr, nullptr, nullptr,
                                   status.get()));
  check(status, "the graph is no function");
  return made;
}

Graph graphOf(const void* bytes, size_t length) {
  Graph graph(TF_NewGraph());
  Status status(TF_NewStatus());
  const Buffer definition(TF_NewBufferFromString(bytes, length));
  const ImportOptions options(TF_NewImportGraphDefOptions());
  TF_GraphImportGraphDef(graph.get(), definition.get(), options.get(), status.get());
  check(status, "the graph cannot be read");
  return graph;
}

// A function of the same inputs and outputs as `body`, one call of it that XLA compiles for `device`.
Function compiledCall(const std::string& name, const std::string& body, const std::string& device,
                      const std::vector<TF_DataType>& inputTypes, const std::vector<TF_DataType>& outputTypes,
                      TF_Function* definition) {
  Graph graph(TF_NewGraph());
  Status status(TF_NewStatus());
  TF_GraphCopyFunction(graph.get(), definition, nullptr, status.get());
  check(status, "the function cannot be copied");
  std::vector<TF_Output> inputs;
  for (size_t index = 0; index < inputTypes.size(); ++index) {
    TF_OperationDescription* placeholder =
        TF_NewOperation(graph.get(), "Placeholder", ("input_" + std::to_string(index)).c_str());
    TF_SetAttrType(placeholder, "dtype", inputTypes[index]);
    inputs.push_back({TF_FinishOperation(placeholder, status.get()), 0});
    check(status, "an input of the call");
  }
  TF_OperationDescription* call = TF_NewOperation(graph.get(), "StatefulPartitionedCall", "call");
  TF_AddInputList(call, inputs.data(), static_cast<int>(inputs.size()));
  TF_SetAttrTypeList(call, "Tin", inputTypes.data(), static_cast<int>(inputTypes.size()));
  TF_SetAttrTypeList(call, "Tout", outputTypes.data(), static_cast<int>(outputTypes.size()));
  TF_SetAttrFuncName(call, "f", body.c_str(), body.size());
  TF_SetAttrBool(call, "_XlaMustCompile", 1);
  TF_SetDevice(call, device.c_str());
  TF_Operation* operation = TF_FinishOperation(call, status.get());
  check(status, "the call");
  std::vector<TF_Output> outputs;
  for (size_t index = 0; index < outputTypes.size(); ++index) outputs.push_back({operation, static_cast<int>(index)});
  return functionOf(graph.get(), name, inputs, outputs);
}

std::vector<TF_DataType> typesOf(const std::vector<TF_Output>& values) {
  std::vector<TF_DataType> types;
  for (const TF_Output& value : values) types.push_back(TF_OperationOutputType(value));
  return types;
}

TFE_Context* context() {
  if (contexts().empty()) throw std::runtime_error("the binding was loaded before this addon, or without its symbols");
  return contexts().back();
}

// The device that the binding computes on: the last GPU of its list, else the processor.
std::string computingDevice() {
  Status status(TF_NewStatus());
  const DeviceList devices(TFE_ContextListDevices(context(), status.get()));
  check(status, "the devices cannot be listed");
  std::string processor, gpu;
  for (int index = 0; index < TF_DeviceListCount(devices.get()); ++index) {
    const std::string type = TF_DeviceListType(devices.get(), index, status.get());
    check(status, "a device's type");
    if (type == "CPU") processor = TF_DeviceListName(devices.get(), index, status.get());
    if (type == "GPU") gpu = TF_DeviceListName(devices.get(), index, status.get());
    check(status, "a device's name");
  }
  return gpu.empty() ? processor : gpu;
}

// Name of the function that XLA compiles in a call of `name`.
std::string bodyOf(const std::string& name) { return name + "_body"; }

void add(const std::string& name, const void* bytes, size_t length, const std::vector<std::string>& inputNames,
         const std::vector<std::string>& outputNames, bool xla) {
  const Graph graph = graphOf(bytes, length);
  const std::vector<TF_Output> inputs = outputsOf(graph.get(), inputNames);
  const std::vector<TF_Output> outputs = outputsOf(graph.get(), outputNames);
  Status status(TF_NewStatus());
  const Function function = functionOf(graph.get(), xla ? bodyOf(name) : name, inputs, outputs);
  TFE_ContextAddFunction(context(), function.get(), status.get());
  check(status, "the function cannot be added");
  if (!xla) return;
  const Function call =
      compiledCall(name, bodyOf(name), computingDevice(), typesOf(inputs), typesOf(outputs), function.get());
  TFE_ContextAddFunction(context(), call.get(), status.get());
  check(status, "the call of the function cannot be added");
}

void removeOne(const std::string& name) {
  Status status(TF_NewStatus());
  if (!TFE_ContextHasFunction(context(), name.c_str())) return;
  TFE_ContextRemoveFunction(context(), name.c_str(), status.get());
  check(status, "the function cannot be removed");
}

void require(napi_status status, const char* what) {
  if (status != napi_ok) throw std::runtime_error(what);
}

std::string textOf(napi_env env, napi_value value) {
  size_t length = 0;
  require(napi_get_value_string_utf8(env, value, nullptr, 0, &length), "a string was expected");
  std::string text(length, '\0');
  require(napi_get_value_string_utf8(env, value, text.data(), length + 1, &length), "a string was expected");
  return text;
}

std::vector<std::string> textsOf(napi_env env, napi_value value) {
  uint32_t length = 0;
  require(napi_get_array_length(env, value, &length), "an array of strings was expected");
  std::vector<std::string> texts;
  for (uint32_t index = 0; index < length; ++index) {
    napi_value element;
    require(napi_get_element(env, value, index, &element), "an array of strings was expected");
    texts.push_back(textOf(env, element));
  }
  return texts;
}

// Runs `work` on `count` arguments; what it throws becomes a JavaScript error.
template <typename Work>
napi_value guarded(napi_env env, napi_callback_info info, size_t count, Work work) {
  try {
    std::vector<napi_value> arguments(count);
    size_t given = count;
    require(napi_get_cb_info(env, info, &given, arguments.data(), nullptr, nullptr), "the call cannot be read");
    if (given < count) throw std::runtime_error("too few arguments");
    work(arguments);
  } catch (const std::exception& fault) {
    napi_throw_error(env, nullptr, fault.what());
  }
  return nullptr;
}

// addFunction(name, graphDef: Uint8Array, inputs: string[], outputs: string[], xla: boolean)
napi_value addFunction(napi_env env, napi_callback_info info) {
  return guarded(env, info, 5, [env](const std::vector<napi_value>& arguments) {
    napi_typedarray_type type;
    size_t length = 0;
    void* bytes = nullptr;
    require(napi_get_typedarray_info(env, arguments[1], &type, &length, &bytes, nullptr, nullptr),
            "a Uint8Array was expected");
    if (type != napi_uint8_array) throw std::runtime_error("a Uint8Array was expected");
    bool xla = false;
    require(napi_get_value_bool(env, arguments[4], &xla), "a boolean was expected");
    add(textOf(env, arguments[0]), bytes, length, textsOf(env, arguments[2]), textsOf(env, arguments[3]), xla);
  });
}

// removeFunction(name)
napi_value removeFunction(napi_env env, napi_callback_info info) {
  return guarded(env, info, 1, [env](const std::vector<napi_value>& arguments) {
    const std::string name = textOf(env, arguments[0]);
    removeOne(name);
    removeOne(bodyOf(name));
  });
}

}  // namespace

// Called by the binding in place of TensorFlow's own.
extern "C" __attribute__((visibility("default"))) TFE_Context* TFE_NewContext(const TFE_ContextOptions* options,
                                                                             TF_Status* status) {
  using Make = TFE_Context* (*)(const TFE_ContextOptions*, TF_Status*);
  static const Make make = reinterpret_cast<Make>(dlsym(RTLD_NEXT, "TFE_NewContext"));
  if (make == nullptr) {
    TF_SetStatus(status, TF_NOT_FOUND, "TensorFlow's own TFE_NewContext was not found");
    return nullptr;
  }
  TFE_Context* made = make(options, status);
  if (made != nullptr) contexts().push_back(made);
  return made;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor properties[] = {
      {"addFunction", nullptr, addFunction, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"removeFunction", nullptr, removeFunction, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  if (napi_define_properties(env, exports, sizeof(properties) / sizeof(properties[0]), properties) != napi_ok) {
    napi_throw_error(env, nullptr, "the addon could not name its calls");
  }
  return exports;
}
