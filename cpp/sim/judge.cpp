#include "sim/judge.hpp"

#include <iterator>
#include <utility>

namespace carillon::sim {

namespace {
std::string position(const std::string& epoch, std::uint64_t offset) {
  return epoch + ':' + std::to_string(offset);
}
}  // namespace

std::string brief(const std::string& data) {
  const std::size_t begin = data.starts_with('"') ? 1 : 0;
  return data.substr(begin, data.find_first_of(" \"", begin) - begin);
}

void Judge::complain(std::string what) {
  trace_.add("COMPLAINT ", what);
  if (complaints_.size() < kComplaints) complaints_.push_back(std::move(what));
}

void Judge::on_refused(const std::string& channel, const std::string& data) {
  refused_.insert(data);
  for (const auto& [position, stored] : order_[channel]) {
    if (stored == data) note(channel, position.first, position.second, data, "somebody");
  }
}

void Judge::note(const std::string& channel, const std::string& epoch, std::uint64_t offset,
                 const std::string& data, const std::string& who) {
  if (!published_[channel].contains(data))
    complain(who + ": " + brief(data) + " of " + channel + " was never published");
  if (refused_.contains(data))
    complain("nothing was stored: so its publisher was told of " + brief(data) + " of " + channel + ", and " +
             who + " has it");
  const auto [found, is_new] = order_[channel].try_emplace({epoch, offset}, data);
  if (!is_new && found->second != data)
    complain("one order for all: " + channel + ' ' + position(epoch, offset) + " is " + brief(found->second) +
             ", and " + brief(data) + " for " + who);
  // A loss that was possible makes one new epoch, not more.
  std::set<std::string>& epochs = epochs_[channel];
  if (epochs.insert(epoch).second && epochs.size() > 1 + losses_possible_)
    complain("epochs: " + channel + " has " + std::to_string(epochs.size()) +
             ", though a loss was possible " + std::to_string(losses_possible_) + " times");
}

void Judge::on_acknowledged(const std::string& channel, const std::string& data, const std::string& epoch,
                            std::uint64_t offset) {
  trace_.add("acknowledged ", channel, ' ', brief(data), " at ", position(epoch, offset));
  ++acknowledged_count_;
  note(channel, epoch, offset, data, "its publisher");
  acknowledged_[channel][data] = {epoch, offset};
}

void Judge::on_all_lost(const std::string& channel) {
  for (const auto& [name, all] : published_) {
    if (channel.empty() || name == channel) lost_.insert(all.begin(), all.end());
  }
}

std::optional<std::uint64_t> Judge::newest_of(const std::string& channel, const std::string& epoch) const {
  const auto seen = order_.find(channel);
  if (seen == order_.end()) return std::nullopt;
  const auto behind = seen->second.upper_bound({epoch, UINT64_MAX});
  if (behind == seen->second.begin()) return std::nullopt;
  const auto& [where, data] = *std::prev(behind);
  return where.first == epoch ? std::optional(where.second) : std::nullopt;
}

bool Judge::is_kept(const std::string& channel, const Place& place) const {
  // Where publications leave the history and the store has lost its end, nobody may know how far it had come.
  const auto all = published_.find(channel);
  if (losses_possible_ > 0 && all != published_.end() && all->second.size() > history_size_) return false;
  const std::optional<std::uint64_t> top = top_of_(channel, place.epoch);
  return top && place.offset + history_size_ >= *top;
}

void Judge::on_start(const std::string& client, const std::string& channel, const Start& start) {
  const char* const outcome = !start.recovered ? "new" : *start.recovered ? "recovered" : "not recovered";
  trace_.add(client, " starts in ", channel, " at ", position(start.epoch, start.offset), ", ", outcome);
  Place& place = places_[{client, channel}];
  if (start.recovered) ++recoveries_;
  if (start.recovered == true) {
    // It goes on where it was, to the letter.
    if (!place.has_started || place.epoch != start.epoch || place.offset != start.offset)
      complain("recovery: " + client + " was at " + position(place.epoch, place.offset) + " of " + channel +
               " and goes on at " + position(start.epoch, start.offset));
  } else if (place.has_started) {
    ++gaps_;
    if (!start.recovered)
      complain("recovery: " + client + " has named its position in " + channel +
               ", and is not told what became of it");
    else if (place.epoch == start.epoch && is_kept(channel, place))
      complain("needless gap: " + client + " at " + position(place.epoch, place.offset) + " of " + channel +
               " is told of a loss within the epoch");
  }
  place = {start.epoch, start.offset, true, true};
}

void Judge::on_publication(const std::string& client, const std::string& channel, std::uint64_t offset,
                           const std::string& data) {
  ++delivered_;
  Place& place = places_[{client, channel}];
  trace_.add(client, " gets ", channel, ' ', position(place.epoch, offset), ' ', brief(data));
  if (!place.is_live)
    return complain("order: " + client + " gets " + brief(data) + " of " + channel +
                    " before it starts there");
  if (offset <= place.offset)
    return complain("delivered twice: " + client + " gets " + position(place.epoch, offset) + " of " +
                    channel + " again, behind " + std::to_string(place.offset));
  if (offset != place.offset + 1)
    complain("untold gap: " + client + " gets " + position(place.epoch, offset) + " of " + channel +
             " after " + std::to_string(place.offset));
  place.offset = offset;
  note(channel, place.epoch, offset, data, client);
}

void Judge::on_away(const std::string& client, const std::string& channel) {
  places_[{client, channel}].is_live = false;
}

void Judge::judge_log(const std::string& channel, const Log& log) {
  std::set<std::string> kept;
  for (const auto& [offset, data] : log.kept) {
    if (!kept.insert(data).second) complain("published twice: " + brief(data) + " of " + channel);
    note(channel, log.epoch, offset, data, "the log");
  }
  // Where nothing was ever lost, the newest are there.
  const std::uint64_t first = log.top > history_size_ ? log.top - history_size_ + 1 : 1;
  if (!log.kept.empty() && log.kept.front().first > first && epochs_[channel].size() == 1)
    complain("history: " + channel + " keeps nothing before " + std::to_string(log.kept.front().first) +
             ", and should from " + std::to_string(first));
  for (const auto& [data, where] : acknowledged_[channel]) {
    const bool has_left = where.second + history_size_ <= log.top;
    if (!has_left && !kept.contains(data) && !lost_.contains(data))
      complain("lost: " + brief(data) + " of " + channel + ", acknowledged at " +
               position(where.first, where.second));
  }
}

std::string Judge::unrest_of(const std::string& client, const std::string& channel, const Log& log) {
  const Place& place = places_[{client, channel}];
  if (!place.is_live) return client + " is not live in " + channel;
  if (place.epoch == log.epoch && place.offset == log.top) return {};
  return client + " is at " + position(place.epoch, place.offset) + " of " + channel + ", whose top is " +
         position(log.epoch, log.top);
}

}  // namespace carillon::sim
