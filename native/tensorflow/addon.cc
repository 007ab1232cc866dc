// The N-API entry point: requiring the addon registers all operations and kernels. It exports productTypes, see product.h.
#include <node_api.h>

#include <exception>

#include "gemm/product.h"
#include "tensorflow/registry.h"

NAPI_MODULE_INIT() {
  try {
    weir::registerAll();
  } catch (const std::exception& fault) {
    napi_throw_error(env, nullptr, fault.what());
  }
  napi_value types;
  if (napi_create_string_utf8(env, weir::productTypes(), NAPI_AUTO_LENGTH, &types) != napi_ok ||
      napi_set_named_property(env, exports, "productTypes", types) != napi_ok) {
    napi_throw_error(env, nullptr, "weir's kernels could not name their products' types");
  }
  return exports;
}
