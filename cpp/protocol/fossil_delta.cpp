#include "protocol/fossil_delta.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

namespace carillon {
namespace {

/// Blocks of the source begin at its multiples, and are looked for everywhere in the target.
constexpr std::size_t kBlockBytes = 16;
/// Blocks with the same hash that are compared: it bounds the time for a source that repeats itself.
constexpr int kCandidates = 8;
constexpr std::uint32_t kNoBlock = ~std::uint32_t{0};
constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

std::size_t digits_of(std::size_t number) {
  return number == 0 ? 1 : (static_cast<std::size_t>(std::bit_width(number)) + 5) / 6;
}

void append_number(std::string& out, std::size_t number) {
  for (std::size_t digit = digits_of(number); digit > 0; --digit)
    out.push_back(kDigits[(number >> (6 * (digit - 1))) & 63U]);
}

/// Sum of the words, the first byte of each being its highest; the last one is filled with zeros.
std::uint32_t checksum_of(std::string_view text) {
  std::array<std::uint32_t, 4> columns{};
  const std::size_t whole = text.size() / 4 * 4;
  for (std::size_t i = 0; i < whole; i += 4) {
    for (std::size_t column = 0; column < 4; ++column)
      columns[column] += static_cast<unsigned char>(text[i + column]);
  }
  for (std::size_t i = whole; i < text.size(); ++i) columns[i - whole] += static_cast<unsigned char>(text[i]);
  return (columns[0] << 24U) + (columns[1] << 16U) + (columns[2] << 8U) + columns[3];
}

std::uint32_t hash_of(const char* block) {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::memcpy(&first, block, 8);
  std::memcpy(&second, block + 8, 8);
  constexpr std::uint64_t kOdd = 0x9E37'79B9'7F4A'7C15U;
  return static_cast<std::uint32_t>((((first * kOdd) ^ second) * kOdd) >> 32U);
}

std::size_t common_prefix(std::string_view a, std::string_view b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t same = 0;
  while (same + 8 <= most && std::memcmp(a.data() + same, b.data() + same, 8) == 0) same += 8;
  while (same < most && a[same] == b[same]) ++same;
  return same;
}

std::size_t common_suffix(std::string_view a, std::string_view b) {
  const std::size_t most = std::min(a.size(), b.size());
  const char* const end_a = a.data() + a.size();
  const char* const end_b = b.data() + b.size();
  std::size_t same = 0;
  while (same + 8 <= most && std::memcmp(end_a - same - 8, end_b - same - 8, 8) == 0) same += 8;
  while (same < most && *(end_a - same - 1) == *(end_b - same - 1)) ++same;
  return same;
}

/// The blocks of the source by their hashes.
class BlockIndex {
 public:
  explicit BlockIndex(std::string_view source)
      : source_(source),
        heads_(std::bit_ceil(std::max<std::size_t>(source.size() / kBlockBytes, 1)), kNoBlock),
        next_(source.size() / kBlockBytes) {
    // From behind, so that the first of equal blocks is found first.
    for (std::size_t block = next_.size(); block > 0; --block) {
      std::uint32_t& head = head_of(source_.data() + (block - 1) * kBlockBytes);
      next_[block - 1] = std::exchange(head, static_cast<std::uint32_t>(block - 1));
    }
  }
  /// Calls `visit` with the place in the source of blocks that may be the same.
  template <typename Visit>
  void find(const char* block, Visit visit) const {
    std::uint32_t candidate = heads_[hash_of(block) & (heads_.size() - 1)];
    for (int left = kCandidates; candidate != kNoBlock && left > 0; --left) {
      visit(candidate * kBlockBytes);
      candidate = next_[candidate];
    }
  }

 private:
  std::uint32_t& head_of(const char* block) { return heads_[hash_of(block) & (heads_.size() - 1)]; }

  std::string_view source_;
  std::vector<std::uint32_t> heads_;
  std::vector<std::uint32_t> next_;
};

/// A piece of the target that the source has as well.
struct Match {
  std::size_t target = 0;
  std::size_t source = 0;
  std::size_t size = 0;
};

class DeltaWriter {
 public:
  DeltaWriter(std::string_view target, DeltaCuts cuts) : target_(target), cuts_(cuts) {
    append_number(out_, target.size());
    out_.push_back('\n');
  }

  /// Writes what stands before the match, and the match, if that is shorter than its text. The match begins
  /// at or behind written().
  bool copy(Match match) {
    match = trimmed(match);
    if (match.size <= cost_of(match)) return false;
    insert_up_to(match.target);
    append_number(out_, match.size);
    out_.push_back('@');
    append_number(out_, match.source);
    out_.push_back(',');
    written_ = match.target + match.size;
    return true;
  }
  /// The target up to here is in the delta.
  [[nodiscard]] std::size_t written() const { return written_; }
  std::string finish() {
    insert_up_to(target_.size());
    append_number(out_, checksum_of(target_));
    out_.push_back(';');
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool is_cut(std::size_t at) const {
    return at < target_.size() && (static_cast<unsigned char>(target_[at]) & 0xC0U) == 0x80U;
  }
  /// A character has four bytes at most, so this ends soon.
  [[nodiscard]] Match trimmed(Match match) const {
    if (cuts_ == DeltaCuts::bytes) return match;
    for (; match.size > 0 && is_cut(match.target); --match.size) {
      ++match.target;
      ++match.source;
    }
    while (match.size > 0 && is_cut(match.target + match.size)) --match.size;
    return match;
  }
  /// Of the command, and of the one for the text before it.
  [[nodiscard]] std::size_t cost_of(const Match& match) const {
    const std::size_t before = match.target - written_;
    return digits_of(match.size) + digits_of(match.source) + 2 + (before > 0 ? digits_of(before) + 1 : 0);
  }
  void insert_up_to(std::size_t end) {
    if (end == written_) return;
    append_number(out_, end - written_);
    out_.push_back(':');
    out_.append(target_, written_, end - written_);
    written_ = end;
  }

  std::string_view target_;
  DeltaCuts cuts_;
  std::string out_;
  std::size_t written_ = 0;
};

/// Copies the blocks of the source that are in the target, from written() to `end`.
void copy_blocks(std::string_view source, std::string_view target, std::size_t end, DeltaWriter& writer) {
  const BlockIndex index(source);
  std::size_t at = writer.written();
  while (at + kBlockBytes <= end) {
    Match best;
    index.find(target.data() + at, [&](std::size_t place) {
      if (std::memcmp(source.data() + place, target.data() + at, kBlockBytes) != 0) return;
      const std::size_t behind = common_prefix(source.substr(place + kBlockBytes),
                                               target.substr(at + kBlockBytes, end - at - kBlockBytes));
      const std::size_t before =
          common_suffix(source.substr(0, place), target.substr(writer.written(), at - writer.written()));
      if (before + kBlockBytes + behind > best.size)
        best = {at - before, place - before, before + kBlockBytes + behind};
    });
    if (best.size > 0 && writer.copy(best)) {
      at = writer.written();
    } else {
      ++at;
    }
  }
}

}  // namespace

std::string fossil_delta(std::string_view source, std::string_view target, DeltaCuts cuts) {
  DeltaWriter writer(target, cuts);
  // Most publications differ from their predecessor in one place.
  const std::size_t prefix = common_prefix(source, target);
  if (prefix > 0) writer.copy({0, 0, prefix});
  const std::size_t begin = std::max(writer.written(), prefix);
  const std::size_t suffix = common_suffix(source, target.substr(begin));
  const std::size_t end = target.size() - suffix;
  if (end - writer.written() >= kBlockBytes && source.size() >= kBlockBytes)
    copy_blocks(source, target, end, writer);
  if (suffix > 0) writer.copy({end, source.size() - suffix, suffix});
  return writer.finish();
}

}  // namespace carillon
