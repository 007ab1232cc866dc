// Owns asking the memory for cache lines ahead of their use.
#pragma once

#include <cstdint>

namespace weir {

constexpr int64_t kLineBytes = 64;

// What the lines are for: to be read soon, to be read after much else (stays in the second-level cache), to be written.
enum class Use { kRead, kReadLater, kWrite };

// Asks for the lines of `count` numbers; they need not exist.
template <Use use, class T>
inline void fetchLines(const T* from, int64_t count) {
  constexpr int64_t step = kLineBytes / int64_t(sizeof(T));
  for (int64_t i = 0; i < count; i += step) {
    if constexpr (use == Use::kRead) __builtin_prefetch(from + i);
    else if constexpr (use == Use::kReadLater) __builtin_prefetch(from + i, 0, 2);
    else __builtin_prefetch(from + i, 1);
  }
}

}  // namespace weir
