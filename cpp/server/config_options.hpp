#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "server/config.hpp"

namespace carillon {

inline constexpr std::int64_t kMostNumber = INT64_MAX / 4;

/// A place in one of the two tables of token options.
struct TokenPlace {
  TokenOptions ServerConfig::* table;
  std::variant<std::string TokenOptions::*, std::int64_t TokenOptions::*> member;
};

/// A place among the options of the proxies, and of the endpoint of one.
struct ProxyPlace {
  ProxyEndpoint ProxyOptions::* endpoint;
  std::variant<std::string ProxyEndpoint::*, std::int64_t ProxyEndpoint::*, bool ProxyEndpoint::*,
               std::vector<std::string> ProxyEndpoint::*, std::map<std::string, std::string> ProxyEndpoint::*>
      member;
};

/// One option of the configuration, by the dotted path of its place in the document.
struct ConfigOption {
  using Place = std::variant<std::string ServerConfig::*, bool ServerConfig::*, std::int64_t ServerConfig::*,
                             std::vector<std::string> ServerConfig::*, std::int64_t Heartbeat::*,
                             std::int64_t Limits::*, TokenPlace, ProxyPlace, bool ProxyOptions::*>;
  std::string path;
  std::string alias;  ///< `limits.<row>` where the family's name is the path; else empty
  Place place;
  std::string_view doc;
  std::int64_t least = 0;
  std::int64_t most = kMostNumber;
  bool is_duration = false;  ///< the path takes "25s"; an alias takes milliseconds

  [[nodiscard]] std::string_view type() const;
  /// Is its value to be kept out of what people read?
  [[nodiscard]] bool is_secret() const;
  /// May a wrong value be, or hold, a secret? Also where a good one does not: a private key in the place of a
  /// public one.
  [[nodiscard]] bool may_hide_a_secret() const;
};

/// Every option outside the tables of channels, in the order in which they are shown.
[[nodiscard]] const std::vector<ConfigOption>& config_options();

/// Is the path that of an option whose wrong values may hold a secret, or does it lead to or into one? Then
/// no message shows what stands there.
[[nodiscard]] bool may_hide_a_secret(std::string_view path);

/// Calls `visitor` with a reference to where the option's value is.
template <typename Config, typename Visitor>
void visit_place(Config& config, const ConfigOption::Place& place, Visitor visitor) {
  std::visit(
      [&](auto member) {
        if constexpr (std::is_same_v<decltype(member), std::int64_t Heartbeat::*>)
          visitor(config.heartbeat.*member);
        else if constexpr (std::is_same_v<decltype(member), std::int64_t Limits::*>)
          visitor(config.limits.*member);
        else if constexpr (std::is_same_v<decltype(member), TokenPlace>)
          std::visit([&](auto inner) { visitor((config.*member.table).*inner); }, member.member);
        else if constexpr (std::is_same_v<decltype(member), ProxyPlace>)
          std::visit([&](auto inner) { visitor((config.proxies.*member.endpoint).*inner); }, member.member);
        else if constexpr (std::is_same_v<decltype(member), bool ProxyOptions::*>)
          visitor(config.proxies.*member);
        else
          visitor(config.*member);
      },
      place);
}

/// A number among the options of a channel. A duration is `history_ttl = "300s"` or `history_ttl_ms =
/// 300000`.
struct ChannelNumber {
  std::string_view name;
  std::int64_t least;
  std::string_view doc;
  std::int64_t (*get)(const ChannelOptions&);
  void (*set)(ChannelOptions&, std::int64_t);
  bool is_duration = false;
  std::int64_t most = kMostNumber;
};
struct ChannelFlag {
  std::string_view name;
  bool ChannelOptions::* field;
  std::string_view doc;
};
/// One of a few words.
struct ChannelChoice {
  std::string_view name;
  std::span<const std::string_view> words;
  std::string_view doc;
  std::size_t (*get)(const ChannelOptions&);
  void (*set)(ChannelOptions&, std::size_t);
};
/// A list of some of a few words: a bit for each.
struct ChannelWords {
  std::string_view name;
  std::uint32_t ChannelOptions::* field;
  std::span<const std::string_view> words;
  std::string_view doc;
};
[[nodiscard]] std::span<const ChannelNumber> channel_numbers();
[[nodiscard]] std::span<const ChannelFlag> channel_flags();
[[nodiscard]] std::span<const ChannelChoice> channel_choices();
[[nodiscard]] std::span<const ChannelWords> channel_words();
/// The names of all, that in milliseconds included.
[[nodiscard]] std::vector<std::string_view> channel_option_names();

/// An option of the Centrifuge family that this version does not have.
struct AbsentOption {
  std::string_view pattern;    ///< `*` stands for any text; what is beneath the path is covered as well
  std::string_view what;       ///< is missing, and what to write instead
  std::string_view only = {};  ///< JSON text of the one value that is accepted; that of a switch is `false`
};
[[nodiscard]] std::span<const AbsentOption> absent_options();
/// The same for the options of a channel.
[[nodiscard]] std::span<const AbsentOption> absent_channel_options();
/// Null: `path` is none of them.
[[nodiscard]] const AbsentOption* find_absent(std::span<const AbsentOption> options, std::string_view path);
/// Says how maps or shared polls work, at the top or of a channel: not read where subscriptions are of such a
/// type, since nobody can subscribe.
[[nodiscard]] bool is_of_other_subscriptions(std::string_view path);
/// Does the option with this name switch its feature on or off?
[[nodiscard]] bool is_switch(std::string_view path);

/// What somebody who wrote the unknown `path` may have meant; empty: nothing comes near. `siblings` are the
/// names of the same table.
[[nodiscard]] std::string nearest_path(std::string_view path, std::span<const std::string_view> siblings);

}  // namespace carillon
