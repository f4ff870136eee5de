#include "server/store_trouble_report.hpp"

#include <algorithm>
#include <utility>

namespace carillon {

namespace {

constexpr std::size_t kKindBytes = 200;

/// Reasons that differ in numbers (ports, times, sizes) are of one kind.
std::string kind_of_trouble(std::string_view trouble) {
  std::string kind;
  for (const char c : trouble.substr(0, kKindBytes)) {
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit) {
      kind.push_back(c);
    } else if (!kind.ends_with('0')) {
      kind.push_back('0');
    }
  }
  return kind;
}

}  // namespace

bool StoreTroubleReport::may_tell(Millis now_ms) {
  if (told_ms_.size() >= kLines) {
    if (now_ms - told_ms_.front() < kLinesMs) return false;
    told_ms_.pop_front();
  }
  told_ms_.push_back(now_ms);
  return true;
}

StoreTroubleReport::Reason* StoreTroubleReport::reason_of(std::string_view trouble, Millis now_ms) {
  std::string kind = kind_of_trouble(trouble);
  const auto known =
      std::find_if(reasons_.begin(), reasons_.end(), [&](const Reason& each) { return each.kind == kind; });
  if (known != reasons_.end()) return &*known;
  if (reasons_.size() >= kKinds) return nullptr;
  return &reasons_.emplace_back(Reason{std::move(kind), now_ms});
}

StoreTroubleReport::News StoreTroubleReport::look(std::string_view trouble, Millis now_ms) {
  const bool is_down = !trouble.empty();
  if (is_down != std::exchange(is_down_, is_down)) ++changes_;
  Reason* const reason = is_down ? reason_of(trouble, now_ms) : nullptr;
  if (is_down == is_told_down_) {
    if (reason == nullptr || reason->is_told || now_ms - reason->since_ms < kSettledMs || !may_tell(now_ms))
      return {};
    reason->is_told = true;
    return {News::Kind::another_reason, std::exchange(changes_, 0)};
  }
  if (!may_tell(now_ms)) return {};
  is_told_down_ = is_down;
  if (reason != nullptr) reason->is_told = true;
  if (!is_down) reasons_.clear();
  return {is_down ? News::Kind::began : News::Kind::over, std::exchange(changes_, 0)};
}

}  // namespace carillon
