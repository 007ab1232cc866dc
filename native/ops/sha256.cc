#include "ops/sha256.h"

#include <cstring>

#if defined(__SHA__) && defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace weir {

#if defined(__SHA__) && defined(__SSE4_1__)

namespace {

constexpr int64_t kBlockBytes = 64;

// The round constants: first 32 bits of the fractional parts of the cube roots of the first 64 primes.
alignas(64) constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// One message's state, in the order of words that the instructions take, and its 16 latest schedule words.
struct Stream {
  // a, b, e, f and c, d, g, h from high to low.
  __m128i abef = _mm_set_epi32(0x6a09e667, int(0xbb67ae85), 0x510e527f, int(0x9b05688c));
  __m128i cdgh = _mm_set_epi32(0x3c6ef372, int(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19);
  __m128i words[4];

  inline __attribute__((always_inline)) void load(const unsigned char* block) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    for (int i = 0; i < 4; ++i) {
      words[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i), swap);
    }
  }

  // Rounds 4i … 4i + 3, and the schedule words that take the place of those just used.
  inline __attribute__((always_inline)) void round(int i, __m128i constants) {
    __m128i sum = _mm_add_epi32(words[i % 4], constants);
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
    sum = _mm_shuffle_epi32(sum, 0x0e);
    abef = _mm_sha256rnds2_epu32(abef, cdgh, sum);
    if (i >= 12) return;
    const __m128i last = words[(i + 3) % 4];
    const __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(words[i % 4], words[(i + 1) % 4]),
                                       _mm_alignr_epi8(last, words[(i + 2) % 4], 4));
    words[i % 4] = _mm_sha256msg2_epu32(next, last);
  }

  void put(unsigned char* digest) const {
    // Lanes from low to high: f, e, b, a and h, g, d, c.
    uint32_t low[4], high[4];
    std::memcpy(low, &abef, sizeof low);
    std::memcpy(high, &cdgh, sizeof high);
    const uint32_t state[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
    for (int i = 0; i < 8; ++i) {
      for (int byte = 0; byte < 4; ++byte) digest[4 * i + byte] = static_cast<unsigned char>(state[i] >> (24 - 8 * byte));
    }
  }
};

void takeBlocks(Stream& first, Stream& second, const unsigned char* a, const unsigned char* b, int64_t blocks) {
  Stream x = first, y = second;
  for (int64_t block = 0; block < blocks; ++block, a += kBlockBytes, b += kBlockBytes) {
    const __m128i abefX = x.abef, cdghX = x.cdgh, abefY = y.abef, cdghY = y.cdgh;
    x.load(a);
    y.load(b);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds) + i);
      x.round(i, constants);
      y.round(i, constants);
    }
    x.abef = _mm_add_epi32(x.abef, abefX);
    x.cdgh = _mm_add_epi32(x.cdgh, cdghX);
    y.abef = _mm_add_epi32(y.abef, abefY);
    y.cdgh = _mm_add_epi32(y.cdgh, cdghY);
  }
  first = x;
  second = y;
}

// What follows the whole blocks: the rest, one bit, zeros and the length in bits. Returns its number of blocks.
int64_t lastBlocks(const unsigned char* rest, int64_t count, int64_t bytes, unsigned char (&to)[2 * kBlockBytes]) {
  std::memset(to, 0, sizeof to);
  std::memcpy(to, rest, static_cast<size_t>(count));
  to[count] = 0x80;
  const int64_t blocks = count + 9 <= kBlockBytes ? 1 : 2;
  for (int byte = 0; byte < 8; ++byte) {
    to[blocks * kBlockBytes - 1 - byte] = static_cast<unsigned char>(uint64_t(bytes) * 8 >> (8 * byte));
  }
  return blocks;
}

}  // namespace

bool hasSha256Pair() { return true; }

void sha256Pair(const unsigned char* a, const unsigned char* b, int64_t bytes, unsigned char* digestA,
                unsigned char* digestB) {
  Stream x, y;
  const int64_t whole = bytes / kBlockBytes, at = whole * kBlockBytes;
  takeBlocks(x, y, a, b, whole);
  unsigned char lastA[2 * kBlockBytes], lastB[2 * kBlockBytes];
  const int64_t blocks = lastBlocks(a + at, bytes - at, bytes, lastA);
  lastBlocks(b + at, bytes - at, bytes, lastB);
  takeBlocks(x, y, lastA, lastB, blocks);
  x.put(digestA);
  y.put(digestB);
}

#else

bool hasSha256Pair() { return false; }

void sha256Pair(const unsigned char*, const unsigned char*, int64_t, unsigned char*, unsigned char*) {}

#endif

}  // namespace weir
