// Runs the tests whose names contain the first argument, all without one. Exit code 1 where one failed.
#include <cstdio>

#include "tests/testing.h"

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  int passed = 0, failed = 0;
  for (const auto& [name, body] : weir::testing::cases()) {
    if (name.find(only) == std::string::npos) continue;
    try {
      body();
      ++passed;
    } catch (const std::exception& fault) {
      ++failed;
      std::printf("FAILED %s\n  %s\n", name.c_str(), fault.what());
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
