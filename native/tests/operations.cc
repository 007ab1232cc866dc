// Operations on plain memory against sums in double.
#include <array>

#include "ops/sha256.h"
#include "tests/memory_call.h"
#include "tests/testing.h"

using namespace weir;
using namespace weir::testing;

namespace {

const std::map<std::string, Element> kFloats32 = {{"T", Element::kFloat}, {"S", Element::kFloat}};

}  // namespace

TEST("RmsNorm scales each row by its root mean square") {
  const int64_t rows = 3, width = 37;
  Numbers numbers(1);
  const auto x = numbers.take(rows * width, 3.0f), w = numbers.take(width);
  const MemoryCall call = runOperation("WeirRmsNorm", kFloats32, {{"epsilon", 1e-6}},
                                       {valuesOf(x, {rows, width}), valuesOf(w, {width})});
  for (int64_t row = 0; row < rows; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += double(x[size_t(row * width + i)]) * x[size_t(row * width + i)];
    const double r = 1 / std::sqrt(squares / width + 1e-6);
    CHECK_NEAR(call.output(1).as<float>()[row], r, 1e-6 * r);
    for (int64_t i = 0; i < width; ++i) {
      CHECK_NEAR(call.output(0).as<float>()[row * width + i], x[size_t(row * width + i)] * r * w[size_t(i)], 1e-5);
    }
  }
}

TEST("SwiGlu multiplies by silu of the gate, in bfloat16 rounded once") {
  Numbers numbers(2);
  const int64_t count = 1000;
  const auto gate = numbers.take(count, 8.0f), up = numbers.take(count, 2.0f);
  const MemoryCall call = runOperation("WeirSwiGlu", {{"T", Element::kBfloat16}}, {},
                                       {rounded(gate, {1, count}), rounded(up, {1, count})});
  for (size_t i = 0; i < size_t(count); ++i) {
    const double g = toFloat(bfloat16{roundBits(gate[i])}), u = toFloat(bfloat16{roundBits(up[i])});
    const double expected = u * g / (1 + std::exp(-g));
    CHECK_NEAR(toFloat(call.output(0).as<bfloat16>()[i]), expected, std::abs(expected) / 250 + 1e-30);
  }
}

TEST("a product of any sizes agrees with sums in double, transposed or not, added to something or not") {
  Numbers numbers(3);
  for (const auto& [m, k, n] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {33, 70, 65}, {64, 129, 130}, {5, 300, 17}}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const bool plus : {false, true}) {
          const auto a = numbers.take(m * k), b = numbers.take(k * n), c = numbers.take(m * n);
          const Shape sa = ta ? Shape{k, m} : Shape{m, k}, sb = tb ? Shape{n, k} : Shape{k, n};
          const MemoryCall call =
              runOperation("WeirProduct", kFloats32, {{"transpose_a", ta}, {"transpose_b", tb}},
                           {valuesOf(a, sa), valuesOf(b, sb), plus ? valuesOf(c, {m, n}) : absent()});
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              double sum = plus ? c[size_t(i * n + j)] : 0;
              for (int64_t t = 0; t < k; ++t) {
                sum += double(a[size_t(ta ? t * m + i : i * k + t)]) * b[size_t(tb ? j * k + t : t * n + j)];
              }
              CHECK_NEAR(call.output(0).as<float>()[i * n + j], sum, 1e-4);
            }
          }
        }
      }
    }
  }
}

TEST("attention is causal, reads no padding of a prefix and sums to one") {
  const int64_t prompts = 2, kv = 1, group = 2, per = 2, length = 5, dh = 8, prefix = 3;
  Numbers numbers(4);
  const int64_t queries = prompts * kv * group * per, keys = prompts * kv * group;
  const auto q = numbers.take(queries * length * dh), k = numbers.take(keys * length * dh);
  const auto v = numbers.take(keys * length * dh);
  auto kp = numbers.take(prompts * kv * prefix * dh), vp = numbers.take(prompts * kv * prefix * dh);
  const std::vector<int32_t> lengths = {3, 1};
  // Beyond a prompt's length there may be anything.
  for (int64_t j = lengths[1]; j < prefix; ++j)
    for (int64_t d = 0; d < dh; ++d) kp[size_t((prefix + j) * dh + d)] = vp[size_t((prefix + j) * dh + d)] = NAN;
  const MemoryCall call = runOperation(
      "WeirAttention", kFloats32,
      {{"prompts", prompts}, {"group", group}, {"kv", kv}, {"heads_per_kv", per}, {"length", length}},
      {valuesOf(q, {queries, length, dh}), valuesOf(k, {keys, length, dh}), valuesOf(v, {keys, length, dh}),
       valuesOf(kp, {prompts * kv, prefix, dh}), valuesOf(vp, {prompts * kv, prefix, dh}), valuesOf(lengths, {prompts})});
  for (int64_t row = 0; row < queries; ++row) {
    const int64_t key = row / per, prompt = key / group;
    for (int64_t t = 0; t < length; ++t) {
      std::vector<double> weights, values(size_t(dh), 0.0);
      std::vector<const float*> rows;
      const auto add = [&](const float* keyRow, const float* valueRow) {
        double score = 0;
        for (int64_t d = 0; d < dh; ++d) score += double(q[size_t((row * length + t) * dh + d)]) * keyRow[d];
        weights.push_back(std::exp(score));
        rows.push_back(valueRow);
      };
      for (int64_t j = 0; j < lengths[size_t(prompt)]; ++j)
        add(&kp[size_t((prompt * prefix + j) * dh)], &vp[size_t((prompt * prefix + j) * dh)]);
      for (int64_t j = 0; j <= t; ++j) add(&k[size_t((key * length + j) * dh)], &v[size_t((key * length + j) * dh)]);
      double total = 0;
      for (size_t j = 0; j < weights.size(); ++j) {
        total += weights[j];
        for (int64_t d = 0; d < dh; ++d) values[size_t(d)] += weights[j] * rows[j][d];
      }
      CHECK_NEAR(call.output(1).as<float>()[row * length + t], std::log(total), 1e-5);
      for (int64_t d = 0; d < dh; ++d)
        CHECK_NEAR(call.output(0).as<float>()[(row * length + t) * dh + d], values[size_t(d)] / total, 1e-5);
    }
  }
}

TEST("the gradients of attention are the slopes of its outputs") {
  const int64_t prompts = 2, kv = 1, group = 2, per = 2, length = 70, dh = 8, prefix = 9;
  const int64_t queries = prompts * kv * group * per, keys = prompts * kv * group;
  const std::map<std::string, double> attributes = {
      {"prompts", double(prompts)}, {"group", double(group)}, {"kv", double(kv)}, {"heads_per_kv", double(per)},
      {"length", double(length)}};
  Numbers numbers(6);
  const std::vector<Shape> shapes = {{queries, length, dh}, {keys, length, dh}, {keys, length, dh},
                                     {prompts * kv, prefix, dh}, {prompts * kv, prefix, dh}};
  std::vector<std::vector<float>> at, along;
  for (const Shape& shape : shapes) {
    at.push_back(numbers.take(elementsOf(shape)));
    along.push_back(numbers.take(elementsOf(shape)));
  }
  const std::vector<int32_t> lengths = {9, 4};
  const auto dO = numbers.take(queries * length * dh);
  // Inputs moved by `step` along the direction of one of them.
  const auto inputs = [&](size_t moved, float step) {
    std::vector<Values> all;
    for (size_t i = 0; i < shapes.size(); ++i) {
      std::vector<float> x = at[i];
      for (size_t j = 0; i == moved && j < x.size(); ++j) x[j] += step * along[i][j];
      all.push_back(valuesOf(x, shapes[i]));
    }
    all.push_back(valuesOf(lengths, {prompts}));
    return all;
  };
  const auto value = [&](size_t moved, float step) {
    const MemoryCall call = runOperation("WeirAttention", kFloats32, attributes, inputs(moved, step));
    double sum = 0;
    for (size_t i = 0; i < dO.size(); ++i) sum += double(call.output(0).as<float>()[i]) * dO[i];
    return sum;
  };
  const MemoryCall forward = runOperation("WeirAttention", kFloats32, attributes, inputs(0, 0));
  std::vector<Values> all = inputs(0, 0);
  all.push_back(forward.output(0));
  all.push_back(forward.output(1));
  all.push_back(valuesOf(dO, shapes[0]));
  const MemoryCall backward = runOperation("WeirAttentionGrad", kFloats32, attributes, all);
  for (size_t i = 0; i < shapes.size(); ++i) {
    double slope = 0;
    for (size_t j = 0; j < along[i].size(); ++j) slope += double(backward.output(int(i)).as<float>()[j]) * along[i][j];
    CHECK_NEAR((value(i, 0.01f) - value(i, -0.01f)) / 0.02, slope, 0.01 * (1 + std::fabs(slope)));
  }
}

TEST("attention refuses keys that do not fit its heads") {
  Numbers numbers(7);
  const auto q = numbers.take(2 * 3 * 4), k = numbers.take(3 * 4), few = numbers.take(2 * 4);
  const std::map<std::string, double> attributes = {
      {"prompts", 1}, {"group", 1}, {"kv", 1}, {"heads_per_kv", 2}, {"length", 3}};
  const auto none = valuesOf(std::vector<float>{}, {0});
  try {
    runOperation("WeirAttention", kFloats32, attributes,
                 {valuesOf(q, {2, 3, 4}), valuesOf(few, {1, 2, 4}), valuesOf(k, {1, 3, 4}), none, none,
                  valuesOf(std::vector<int32_t>{}, {0})});
    CHECK(false);
  } catch (const Failure& fault) {
    CHECK(std::string(fault.what()).find("k or v") != std::string::npos);
  }
}

TEST("an operation refuses what does not fit, by its number") {
  try {
    runOperation("WeirRmsNorm", kFloats32, {{"epsilon", 1e-6}},
                 {valuesOf(std::vector<float>(6), {2, 3}), valuesOf(std::vector<float>(4), {4})});
  } catch (const Failure& fault) {
    CHECK(std::string(fault.what()).find("input 1: expected 3 elements, got 4") == 0);
    return;
  }
  CHECK(false);
}

TEST("two messages at once have the SHA-256 of each") {
  if (!hasSha256Pair()) return;
  // The digests of four zero bytes and of "abcd".
  const unsigned char zeros[4] = {}, letters[4] = {'a', 'b', 'c', 'd'};
  unsigned char first[kDigestBytes], second[kDigestBytes];
  sha256Pair(zeros, letters, 4, first, second);
  const unsigned char ofZeros[] = {0xdf, 0x3f, 0x61, 0x98, 0x04, 0xa9, 0x2f, 0xdb};
  const unsigned char ofLetters[] = {0x88, 0xd4, 0x26, 0x6f, 0xd4, 0xe6, 0x33, 0x8d};
  CHECK(std::memcmp(first, ofZeros, sizeof ofZeros) == 0);
  CHECK(std::memcmp(second, ofLetters, sizeof ofLetters) == 0);
}
