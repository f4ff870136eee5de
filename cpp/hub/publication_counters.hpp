#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "hub/channel_rules.hpp"

namespace carillon {

/// Publications since the start, by the rule whose options their channel has: names of rules come from the
/// configuration, so that no client can invent one. Thread-safe, except set_rules().
class PublicationCounters {
 public:
  explicit PublicationCounters(const ChannelRules& rules) { set_rules(rules); }

  /// Counts of rules that were there before go on. While nothing is counted.
  void set_rules(const ChannelRules& rules) {
    const std::lock_guard lock(mutex_);
    by_rule_.clear();
    for (const std::string& name : rules.names()) {
      std::unique_ptr<std::atomic<std::uint64_t>>& sum = sums_[name];
      if (!sum) sum = std::make_unique<std::atomic<std::uint64_t>>(0);
      by_rule_.push_back(sum.get());
    }
  }
  void count(const ChannelOptions& options) {
    by_rule_[options.rule]->fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> sums() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, std::uint64_t>> result;
    for (const auto& [name, sum] : sums_) result.emplace_back(name, sum->load(std::memory_order_relaxed));
    return result;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<std::atomic<std::uint64_t>>> sums_;
  std::vector<std::atomic<std::uint64_t>*> by_rule_;
};

}  // namespace carillon
