#include "server/event_log.hpp"

#include <utility>

namespace carillon {

namespace {

/// Cut between two characters of UTF-8.
std::string bounded(std::string_view text) {
  if (text.size() <= EventLog::kTextBytes) return std::string(text);
  std::size_t end = EventLog::kTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + "…";
}

std::string sentence(const LogLine& line) {
  std::string text;
  text.append(name_of(line.transport)).append(" ").append(name_of(line.connection_event));
  if (!line.client.empty()) text.append(" ").append(line.client);
  if (!line.user.empty()) {
    text.append(" (").append(line.user).append(")");
  } else if (!line.claimed_user.empty()) {
    text.append(" (claims to be ").append(line.claimed_user).append(")");
  }
  if (!line.peer.empty()) text.append(" from ").append(line.peer);
  const bool is_loss = line.connection_event == ConnectionEvent::gap ||
                       line.connection_event == ConnectionEvent::slow ||
                       line.connection_event == ConnectionEvent::not_recovered;
  if (is_loss) text.append(" in '").append(line.channel).append("'");
  if (line.connection_event == ConnectionEvent::connect) return text;
  text.append(": ");
  if (line.code != 0) text.append(std::to_string(line.code)).append(" ");
  return text.append(line.reason);
}

}  // namespace

bool EventLog::takes(RecordRate& rate) {
  if (rate.takes(clock_.now_ms(), limits_.log_records_per_s)) return true;
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void EventLog::write(const ConnectionRecord& record) {
  if (!queue_) return;
  {
    const std::lock_guard lock(mutex_);
    if (!takes(rates_[name_of(record.event)])) return;
  }
  LogLine line;
  line.logger = "access";
  line.is_connection = true;
  line.connection_event = record.event;
  line.transport = record.transport;
  line.client = record.client;
  line.user = bounded(record.user);
  line.claimed_user = bounded(record.claimed_user);
  line.channel = bounded(record.channel);
  line.peer = record.peer;
  line.request = record.request;
  for (const std::string_view channel : record.channels) line.channels.push_back(bounded(channel));
  line.subscriptions = record.subscriptions;
  line.lost_from = record.lost_from;
  line.lost_to = record.lost_to;
  line.code = record.code;
  line.reason = bounded(record.reason);
  line.duration_ms = record.duration_ms;
  line.message = sentence(line);
  push(std::move(line));
}

void EventLog::report_suppressed(bool is_last) {
  std::vector<std::pair<std::string_view, std::uint64_t>> news;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [event, rate] : rates_)
      if (const std::uint64_t count = rate.take_suppressed(clock_.now_ms(), is_last); count > 0)
        news.emplace_back(event, count);
  }
  for (const auto& [event, count] : news) {
    tell({LogLevel::warning,
          "records_suppressed",
          "records of the event " + std::string(event) + " that were left out: " + std::to_string(count) +
              "; there were more than limits.log_records_per_s (" +
              std::to_string(limits_.log_records_per_s) + ")",
          {{"count", static_cast<std::int64_t>(count)}, {"limit", limits_.log_records_per_s}},
          {{"suppressed_event", std::string(event)}}});
  }
}

void EventLog::push(LogLine line) {
  if (!queue_->push(std::move(line))) lost_.fetch_add(1, std::memory_order_relaxed);
}

std::map<std::string_view, std::uint64_t> EventLog::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

void EventLog::tell(OperatorNote note) {
  {
    const std::lock_guard lock(mutex_);
    ++events_[note.event];
    if (!takes(rates_[note.event])) return;
  }
  if (!queue_) return;
  LogLine line;
  line.logger = "server";
  line.level = note.level;
  line.event = note.event;
  line.message = std::move(note.message);
  line.numbers = std::move(note.numbers);
  line.texts = std::move(note.texts);
  push(std::move(line));
}

}  // namespace carillon
