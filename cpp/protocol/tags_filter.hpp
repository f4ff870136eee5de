#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/publication_view.hpp"

namespace carillon {

/// What a subscriber wants of a channel, by the tags of its publications: the field `tf` of a subscribe
/// command (protocol.md section 19). A tree of comparisons, joined by and, or and not.
class TagsFilter {
 public:
  /// Bounds of one filter; a larger one is malformed.
  static constexpr std::size_t kDepthMax = 16;
  static constexpr std::size_t kPartsMax = 256;  ///< nodes, and values to compare with

  /// Nothing: malformed. `text` is one JSON value, or one Protobuf message.
  [[nodiscard]] static std::optional<TagsFilter> from_json(std::string_view text);
  [[nodiscard]] static std::optional<TagsFilter> from_protobuf(std::string_view message);

  /// Does a publication with these tags pass? Of tags with one key the first counts.
  [[nodiscard]] bool passes(std::span<const Tag> tags) const { return passes(root_, tags); }

 private:
  enum class Operator : std::uint8_t { leaf, all, any, negation };
  enum class Comparison : std::uint8_t { eq, neq, in, nin, ex, nex, sw, ew, ct, lt, lte, gt, gte };
  struct Node {
    Operator join = Operator::leaf;
    Comparison comparison = Comparison::eq;
    std::string key;
    std::string value;
    std::vector<std::string> values;
    std::vector<Node> nodes;
  };
  class Builder;

  static bool passes(const Node& node, std::span<const Tag> tags);
  static bool leaf_passes(const Node& node, const std::string* tag);

  Node root_;
};

}  // namespace carillon
