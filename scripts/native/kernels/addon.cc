// The N-API door: requiring the addon registers all operations and kernels. It exports nothing.
#include <node_api.h>

#include <exception>

#include "registry.h"

NAPI_MODULE_INIT() {
  try {
    weir::registerAll();
  } catch (const std::exception& fault) {
    napi_throw_error(env, nullptr, fault.what());
  }
  return exports;
}
