// What comes from the client: messages, and the order in which their commands are carried out.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"

namespace carillon {

void CentrifugeClient::on_message(std::string_view message) {
  if (is_over()) return;
  if (outlet_.is_clogged && !queued_ && must_read_first()) queued_ = std::make_unique<QueuedMessages>();
  if (queued_) {
    queued_->add(message);
  } else {
    if (read_commands(message, true)) return;
    queued_ = std::make_unique<QueuedMessages>();
    queued_->add(message);
    queued_->is_begun = true;
    if (is_full()) context_.counters.command_pauses.fetch_add(1, std::memory_order_relaxed);
  }
  if (queued_->bytes <= static_cast<std::size_t>(context_.limits.pipelined_bytes)) return;
  if (is_emulated()) {  // other connections bring them, and cannot be paused for it
    disconnect_with(kDisconnectSlow, "more than limits.pipelined_bytes of commands wait");
    return;
  }
  // Frames are read on, for the control frames among them.
  context_.host.pause_reading(outlet_, true);
}

bool CentrifugeClient::read_commands(std::string_view& commands, bool is_new_message) {
  Command command;
  std::string scratch;
  for (bool is_first = is_new_message;; is_first = false) {
    const std::string_view before = commands;
    switch (codec_.decode(commands, command, scratch)) {
      case DecodeStep::end:
        if (is_first) disconnect_with(kDisconnectBadRequest, "a message is empty");
        return true;
      case DecodeStep::malformed:
        disconnect_with(kDisconnectBadRequest, codec_.why_malformed(before));
        return true;
      case DecodeStep::command:
        break;
    }
    context_.counters.commands.fetch_add(1, std::memory_order_relaxed);
    if (!accept(command, before.substr(0, before.size() - commands.size()))) return true;
    if (must_wait()) return false;
  }
}

bool CentrifugeClient::is_full() const {
  return lanes_.size() > 0 &&
         (lanes_.size() >= static_cast<std::size_t>(context_.limits.commands_under_way) ||
          lanes_.bytes() >= static_cast<std::size_t>(context_.limits.commands_under_way_bytes));
}

bool CentrifugeClient::waits_for_answers() const { return phase_ == Phase::connecting || is_full(); }

bool CentrifugeClient::must_wait() {
  if (waits_for_answers()) return true;  // while connecting nothing is looked at: it is not known who asks
  if (must_read_first()) {
    outlet_.wants_empty_notice = true;
    return true;
  }
  if (!context_.host.is_time_over()) return false;
  context_.host.read_on_later(outlet_);  // others have sent something, too
  return true;
}

void CentrifugeClient::on_pong() {
  pong_due_ms_ = kNoDeadline;  // one that nobody asked for does no harm
  context_.host.reschedule(outlet_);
}

void CentrifugeClient::on_goodbye(std::uint16_t code) {
  if (queued_ && !waits_for_answers()) {  // what it said before is carried out, unless that may take long
    queued_->close_code = code;
    return;
  }
  if (phase_ != Phase::closing) link_->answer_goodbye(*this, code);
  end_connection();
}

void CentrifugeClient::on_unreadable_input(std::uint16_t code, std::string_view reason,
                                           std::string_view remedy) {
  context_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
  if (!is_over() && !remedy.empty()) note_goodbye(code, std::string(reason).append("; ").append(remedy));
  disconnect(code, reason);
  end_connection();
}

void CentrifugeClient::read_on() {
  if (!queued_) return;
  std::unique_ptr<QueuedMessages> queued = std::move(queued_);
  while (!queued->messages.empty() && !must_wait()) {
    const std::string& message = queued->messages.front();
    std::string_view rest = std::string_view(message).substr(queued->read);
    const bool is_through = read_commands(rest, !queued->is_begun);
    if (is_over()) {  // what is left is void, but not a close
      queued->messages.clear();
    } else if (is_through) {
      queued->remove_first();
    } else {
      queued->read = message.size() - rest.size();
      queued->is_begun = true;
    }
  }
  const std::uint16_t close_code = queued->close_code;
  if (queued->messages.empty()) {
    context_.host.pause_reading(outlet_, false);
    // A pong may have waited as well.
    if (pong_due_ms_ != kNoDeadline)
      pong_due_ms_ = context_.clock.now_ms() + context_.heartbeat.pong_timeout_ms;
  } else {
    queued_ = std::move(queued);
  }
  if (close_code != 0) on_goodbye(close_code);
}

// ---- lanes

bool CentrifugeClient::accept(const Command& command, std::string_view text) {
  switch (command.kind) {
    case CommandKind::pong:
    case CommandKind::connect:
    case CommandKind::ping:
    case CommandKind::refresh:
      return handle(command, text);
    default:
      break;
  }
  const bool is_unsubscribe = command.kind == CommandKind::unsubscribe;
  if (is_unsubscribe) cancel_subscribe(command.channel);
  const std::string_view lane = command.channel;  // rpc and send have none: that is their lane
  if (lanes_.must_wait(lane)) {
    lanes_.wait(lane, text, is_unsubscribe ? lane : std::string_view());
    if (is_unsubscribe) carry_on();  // what it has cancelled holds nobody up
    return true;
  }
  const bool goes_on = carry_out(command, text);
  if (lanes_.size() > 0) carry_on();
  return goes_on;
}

bool CentrifugeClient::carry_out(const Command& command, std::string_view text) {
  lanes_.begin();
  const bool goes_on = handle(command, text);
  lanes_.end(command.channel, text.size());
  return goes_on;
}

void CentrifugeClient::carry_on() {
  if (lanes_.is_carrying_out()) return;
  while (const std::optional<std::string> text = lanes_.next()) {
    Command command;
    std::string scratch;
    std::string_view rest = *text;
    if (codec_.decode(rest, command, scratch) == DecodeStep::command) carry_out(command, *text);
  }
  read_on();
}

void CentrifugeClient::finish(Lanes::Ticket ticket) {
  lanes_.finish(ticket);
  carry_on();
}

}  // namespace carillon
