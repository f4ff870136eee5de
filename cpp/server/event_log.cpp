#include "server/event_log.hpp"

#include <utility>

namespace carillon {

void EventLog::write(const ConnectionRecord& record) {
  if (!queue_) return;
  LogLine line;
  line.logger = "access";
  line.is_connection = true;
  line.connection_event = record.event;
  line.transport = record.transport;
  line.client = record.client;
  line.user = record.user;
  line.claimed_user = record.claimed_user;
  line.channel = record.channel;
  line.peer = record.peer;
  line.code = record.code;
  line.reason = record.reason;
  line.duration_ms = record.duration_ms;
  line.message.append(name_of(record.transport)).append(" ").append(name_of(record.event));
  if (!line.client.empty()) line.message.append(" ").append(line.client);
  if (!line.user.empty()) {
    line.message.append(" (").append(line.user).append(")");
  } else if (!line.claimed_user.empty()) {
    line.message.append(" (claims to be ").append(line.claimed_user).append(")");
  }
  if (!line.peer.empty()) line.message.append(" from ").append(line.peer);
  if (record.event != ConnectionEvent::connect) {
    line.message += ": " + (line.code != 0 ? std::to_string(line.code) + " " : std::string()) + line.reason;
  }
  push(std::move(line));
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
  }
  if (!queue_) return;
  LogLine line;
  line.logger = "server";
  line.level = note.level;
  line.event = note.event;
  line.message = std::move(note.message);
  line.numbers = std::move(note.numbers);
  push(std::move(line));
}

}  // namespace carillon
