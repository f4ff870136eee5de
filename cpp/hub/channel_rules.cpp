#include "hub/channel_rules.hpp"

#include <algorithm>
#include <utility>

namespace carillon {

namespace {

bool has_namespace(std::string_view channel) { return channel.find(':') != std::string_view::npos; }

bool covers(const ChannelRules::Rule& rule, std::string_view channel) {
  switch (rule.scope) {
    case ChannelRules::Scope::pattern:
      return matches_pattern(rule.pattern, channel);
    case ChannelRules::Scope::by_namespace:
      return matches_pattern(rule.pattern, channel.substr(channel.starts_with('$') ? 1 : 0));
    case ChannelRules::Scope::without_namespace:
      return !has_namespace(channel);
  }
  return false;
}

}  // namespace

ChannelRules::ChannelRules(std::vector<Rule> rules) : rules_(std::move(rules)) {
  // Of two as long, that for the names without a namespace is more exact than the pattern `*`.
  std::stable_sort(rules_.begin(), rules_.end(), [](const Rule& a, const Rule& b) {
    return std::pair(a.pattern.size(), a.scope) > std::pair(b.pattern.size(), b.scope);
  });
  has_namespaces_ = std::any_of(rules_.begin(), rules_.end(),
                                [](const Rule& rule) { return rule.scope != Scope::pattern; });
  default_.presence = !has_namespaces_;  // as in their tables, where nobody has switched it on
  for (std::size_t i = 0; i < rules_.size(); ++i) rules_[i].options.rule = static_cast<std::uint32_t>(i + 1);
}

std::vector<std::string> ChannelRules::names() const {
  std::vector<std::string> names{""};
  for (const Rule& rule : rules_) {
    switch (rule.scope) {
      case Scope::pattern:
        names.push_back(rule.pattern);
        break;
      case Scope::by_namespace:
        names.push_back(rule.pattern.substr(0, rule.pattern.size() - 2));
        break;
      case Scope::without_namespace:
        names.emplace_back();
        break;
    }
  }
  return names;
}

const ChannelRules::Rule* ChannelRules::find(std::string_view channel) const {
  const auto rule =
      std::find_if(rules_.begin(), rules_.end(), [&](const Rule& each) { return covers(each, channel); });
  return rule == rules_.end() ? nullptr : &*rule;
}

const ChannelOptions& ChannelRules::options_for(std::string_view channel) const {
  const Rule* rule = find(channel);
  return rule != nullptr ? rule->options : default_;
}

bool ChannelRules::is_known(std::string_view channel) const {
  return !has_namespaces_ || !has_namespace(channel) || find(channel) != nullptr;
}

bool matches_pattern(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;  // the last `*`, and how much text it has swallowed
  std::size_t swallowed_to = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      swallowed_to = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++swallowed_to;
    } else {
      return false;
    }
  }
  return std::all_of(pattern.begin() + static_cast<std::ptrdiff_t>(p), pattern.end(),
                     [](char c) { return c == '*'; });
}

}  // namespace carillon
