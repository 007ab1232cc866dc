// Stands for TensorFlow's header of this name, which the C API's kernels.h asks for and uses nothing of.
#pragma once
