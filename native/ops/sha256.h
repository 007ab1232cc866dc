// SHA-256 (FIPS 180-4) of two messages of the same length at once. A round waits for the one before it, so one message
// leaves the processor's SHA unit half idle.
#pragma once

#include <cstdint>

namespace weir {

constexpr int64_t kDigestBytes = 32;

// Whether this processor has what `sha256Pair` needs.
bool hasSha256Pair();

// Digests of a and b, `bytes` each.
void sha256Pair(const unsigned char* a, const unsigned char* b, int64_t bytes, unsigned char* digestA,
                unsigned char* digestB);

}  // namespace weir
