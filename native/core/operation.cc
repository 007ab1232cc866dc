#include "core/operation.h"

namespace weir {

std::vector<KernelEntry>& kernelEntries() {
  static std::vector<KernelEntry>* const all = new std::vector<KernelEntry>();
  return *all;
}

}  // namespace weir
