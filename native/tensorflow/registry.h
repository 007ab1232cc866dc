// Owns how TensorFlow gets weir's operations: the declarations of operations.inc and the kernels of core/operation.h.
#pragma once

namespace weir {

// Registers everything, in a process where that has not been done yet. Throws Failure.
void registerAll();

}  // namespace weir
