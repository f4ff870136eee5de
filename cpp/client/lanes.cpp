#include "client/lanes.hpp"

namespace carillon {

std::size_t Lanes::bytes() const {
  std::size_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.bytes;
  return bytes;
}

void Lanes::wait(std::string_view lane, std::string_view command, std::string_view cancels) {
  entries_.push_back(
      {std::string(lane), std::string(command), std::string(cancels), command.size(), 0, false});
  gauge_.fetch_add(1, std::memory_order_relaxed);
}

bool Lanes::is_cancelled(std::string_view what) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return !entry.cancels.empty() && entry.cancels == what; });
}

void Lanes::add(std::string_view lane, std::size_t bytes) {
  entries_.push_back({std::string(lane), {}, {}, bytes, std::exchange(deferred_, 0), false});
  gauge_.fetch_add(1, std::memory_order_relaxed);
}

void Lanes::remove(Ticket ticket) {
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& each) { return each.ticket == ticket; });
  if (entry != entries_.end()) erase(entry);
}

void Lanes::erase(std::vector<Entry>::iterator entry) {
  entries_.erase(entry);
  if (entries_.empty()) entries_.shrink_to_fit();  // most clients never need it again
  gauge_.fetch_sub(1, std::memory_order_relaxed);
}

void Lanes::release(Ticket ticket) {
  for (Entry& entry : entries_) {
    if (entry.ticket == ticket) entry.is_released = true;
  }
}

std::optional<std::string> Lanes::next() {
  if (is_carrying_out_) return std::nullopt;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->ticket != 0 || !can_begin(entry->lane)) continue;
    std::optional<std::string> text = std::move(entry->text);
    erase(entry);
    return text;
  }
  return std::nullopt;
}

void Lanes::clear() {
  gauge_.fetch_sub(entries_.size(), std::memory_order_relaxed);
  entries_ = {};
  deferred_ = 0;
}

bool Lanes::is_taken(std::string_view lane) const {
  // Also one that only waits is before a new one of its lane; without a free place it waits in any case.
  const auto is_before = [&](const Entry& entry) { return !entry.is_released && entry.lane == lane; };
  return !can_begin(lane) || std::any_of(entries_.begin(), entries_.end(), is_before);
}

bool Lanes::is_under_way(Ticket ticket) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.ticket == ticket && !entry.is_released; });
}

bool Lanes::can_begin(std::string_view lane) const {
  std::size_t under_way = 0;
  for (const Entry& entry : entries_) {
    if (entry.ticket == 0 || entry.is_released) continue;
    if (entry.lane == lane) return false;
    ++under_way;
  }
  return concurrency_ == 0 || under_way < concurrency_;
}

}  // namespace carillon
