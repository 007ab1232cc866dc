// WeirDigest: SHA-256 of tensors' bytes, many pieces in parallel. The digest of a tensor is the SHA-256 of the SHA-256s of
// its pieces of kPieceBytes, so that a large tensor is not one sequential chain. Pieces of the same size go two by two where the processor can
// do that; the hash function is Node's own elsewhere.
#include <dlfcn.h>

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/operation.h"
#include "ops/sha256.h"

namespace weir {
namespace {

using Sha256 = unsigned char* (*)(const unsigned char*, size_t, unsigned char*);

// As DIGEST_PIECE_BYTES in src/model/transformer/content-hash.ts.
constexpr int64_t kPieceBytes = int64_t(1) << 20;

Sha256 sha256() {
  static const Sha256 found = reinterpret_cast<Sha256>(dlsym(RTLD_DEFAULT, "SHA256"));
  return found;
}

struct Piece {
  int64_t tensor, index, first, bytes;
};

struct Digest {
  explicit Digest(const Attributes& attributes) : count(attributes.integer("K")) {}

  void operator()(Call& call) const {
    std::vector<const unsigned char*> data;
    std::vector<Piece> pieces;
    std::vector<std::vector<unsigned char>> parts;
    for (int64_t k = 0; k < count; ++k) {
      const auto x = call.input<float>(static_cast<int>(k));
      const int64_t bytes = x.count * 4;
      data.push_back(reinterpret_cast<const unsigned char*>(x.data));
      int64_t index = 0;
      for (int64_t first = 0; first < bytes; first += kPieceBytes) {
        pieces.push_back({k, index++, first, std::min(kPieceBytes, bytes - first)});
      }
      parts.emplace_back(static_cast<size_t>(index * kDigestBytes));
    }
    // Pieces of equal size next to each other.
    std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& x, const Piece& y) { return x.bytes > y.bytes; });
    const auto from = [&](const Piece& piece) { return data[piece.tensor] + piece.first; };
    const auto to = [&](const Piece& piece) { return parts[piece.tensor].data() + piece.index * kDigestBytes; };
    const auto alone = [&](const Piece& piece) { sha256()(from(piece), static_cast<size_t>(piece.bytes), to(piece)); };
    const int64_t pairs = (static_cast<int64_t>(pieces.size()) + 1) / 2;
    parallelFor(pairs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Piece& x = pieces[2 * i];
        const Piece* const y = 2 * i + 1 < static_cast<int64_t>(pieces.size()) ? &pieces[2 * i + 1] : nullptr;
        if (y != nullptr && y->bytes == x.bytes && hasSha256Pair()) {
          sha256Pair(from(x), from(*y), x.bytes, to(x), to(*y));
        } else {
          alone(x);
          if (y != nullptr) alone(*y);
        }
      }
    });
    int32_t* digests = call.output<int32_t>(0, {count, kDigestBytes / 4});
    for (int64_t k = 0; k < count; ++k) {
      sha256()(parts[k].data(), parts[k].size(), reinterpret_cast<unsigned char*>(digests) + k * kDigestBytes);
    }
  }

  int64_t count;
};

const Registration registration([] {
  if (sha256() == nullptr) return;
  addKernel<Digest>("WeirDigest", {});
});

}  // namespace
}  // namespace weir
