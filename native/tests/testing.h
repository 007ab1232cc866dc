// Owns how native tests are written: TEST("what holds") { CHECK(…); }, each a sentence, run by tests/main.cc.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace weir::testing {

struct Case {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Added {
  Added(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(bool holds, const std::string& what, const char* file, int line) {
  if (!holds) throw Failed(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

inline void checkNear(double actual, double expected, double tolerance, const char* file, int line) {
  const bool near = std::abs(actual - expected) <= tolerance || (std::isnan(actual) && std::isnan(expected));
  check(near, "expected " + std::to_string(expected) + ", got " + std::to_string(actual), file, line);
}

// Numbers of a fixed seed in (-1, 1); the same on every machine.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  float next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return float(int64_t(state_ >> 40) - (1 << 23)) / float(1 << 23);
  }
  std::vector<float> take(int64_t count, float scale = 1.0f) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = next() * scale;
    return values;
  }

 private:
  uint64_t state_;
};

}  // namespace weir::testing

#define WEIR_JOIN_(a, b) a##b
#define WEIR_JOIN(a, b) WEIR_JOIN_(a, b)
#define TEST(name)                                                                                        \
  static void WEIR_JOIN(test_, __LINE__)();                                                               \
  static const weir::testing::Added WEIR_JOIN(added_, __LINE__)(name, WEIR_JOIN(test_, __LINE__));        \
  static void WEIR_JOIN(test_, __LINE__)()
#define CHECK(condition) weir::testing::check((condition), "expected " #condition, __FILE__, __LINE__)
#define CHECK_NEAR(actual, expected, tolerance) \
  weir::testing::checkNear((actual), (expected), (tolerance), __FILE__, __LINE__)
