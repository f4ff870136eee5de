#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "hub/channel_options.hpp"

namespace carillon {

/// Options by channel pattern: `*` stands for any text; the longest pattern that matches wins.
/// The namespace of a channel is the text before its first `:`, without a leading `$` (protocol.md, section
/// 14). A reload assigns others while nothing reads them; in between, any thread may read.
class ChannelRules {
 public:
  /// The channels of a rule.
  enum class Scope : std::uint8_t {
    pattern,           ///< names that match it
    by_namespace,      ///< names of one namespace; the pattern is its name and `:*`
    without_namespace  ///< names without a `:`; the pattern is `*`
  };
  struct Rule {
    std::string pattern;
    ChannelOptions options;
    Scope scope = Scope::pattern;
  };
  ChannelRules() = default;
  explicit ChannelRules(std::vector<Rule> rules);
  /// The options of the rule that wins, else the defaults.
  [[nodiscard]] const ChannelOptions& options_for(std::string_view channel) const;
  /// By ChannelOptions::rule: the pattern, or the name of the namespace. "" of those without a namespace, and
  /// of the defaults, which come first.
  [[nodiscard]] std::vector<std::string> names() const;
  /// False: there are rules by namespace or for names without one, the channel's namespace is not among them,
  /// and no pattern matches. Clients and the HTTP API get error 102, unknown channel.
  [[nodiscard]] bool is_known(std::string_view channel) const;

 private:
  [[nodiscard]] const Rule* find(std::string_view channel) const;

  std::vector<Rule> rules_;  // longest pattern first
  ChannelOptions default_;
  bool has_namespaces_ = false;
};

/// Does `text` match `pattern`, in which `*` stands for any run of characters?
[[nodiscard]] bool matches_pattern(std::string_view pattern, std::string_view text);

}  // namespace carillon
