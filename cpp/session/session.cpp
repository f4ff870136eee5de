#include "session/session.hpp"

#include <array>
#include <string>

namespace carillon {

void Session::log_connect(Transport transport, std::string_view request) {
  connected_ms_ = context_.clock.now_ms();
  context_.host.end_handshake(outlet_);
  if (context_.log != nullptr) {
    context_.log->write({.transport = transport,
                         .client = client_id(),
                         .user = user(),
                         .peer = context_.host.peer(outlet_),
                         .reason = {},
                         .claimed_user = {},
                         .channel = {},
                         .request = request});
  }
}

void Session::log_close(Transport transport, const ChannelsAtEnd& channels, std::string_view claimed_user,
                        std::string_view request) {
  if (connected_ms_ == 0) {
    if (end_ && end_->is_goodbye && !is_refusal_logged_)
      log_refusal(transport, user(), claimed_user, end_->code, end_->reason, {}, request);
    return;
  }
  note_end(0, "the client left");
  if (end_->is_goodbye && outlet_.pending_bytes() > 0) {  // it waits behind what the client does not take
    end_->reason = "the goodbye was not delivered: " + std::to_string(end_->code) + " " + end_->reason;
    end_->code = 0;
  }
  if (context_.log != nullptr) {
    context_.log->write({.event = ConnectionEvent::close,
                         .transport = transport,
                         .client = client_id(),
                         .user = user(),
                         .peer = context_.host.peer(outlet_),
                         .code = end_->code,
                         .reason = end_->reason,
                         .duration_ms = context_.clock.now_ms() - connected_ms_,
                         .claimed_user = {},
                         .channel = {},
                         .channels = channels.names,
                         .subscriptions = channels.count});
  }
  if (context_.access.has_hook(Operation::disconnect)) {
    Question notice;
    notice.operation = Operation::disconnect;
    notice.transport = transport;
    notice.client = client_id();
    notice.user = user();
    notice.code = end_->code;
    notice.reason = end_->reason;
    context_.access.ask(notice, [](const Verdict& /*verdict*/) {});
  }
  connected_ms_ = 0;
  is_refusal_logged_ = true;  // it was let in: whatever follows is not one
}

void Session::log_refusal(Transport transport, std::string_view user, std::string_view claimed_user,
                          std::uint32_t code, std::string_view reason, std::string_view channel,
                          std::string_view request) {
  is_refusal_logged_ = true;
  if (context_.log == nullptr) return;
  context_.log->write({.event = ConnectionEvent::refuse,
                       .transport = transport,
                       .client = client_id(),
                       .user = user,
                       .peer = context_.host.peer(outlet_),
                       .code = static_cast<std::uint16_t>(code),
                       .reason = reason,
                       .claimed_user = claimed_user,
                       .channel = channel,
                       .request = request});
}

void Session::log_loss(ConnectionRecord record) {
  if (context_.log == nullptr) return;
  const std::string peer = context_.host.peer(outlet_);
  record.client = client_id();
  record.user = user();
  record.peer = peer;
  context_.log->write(record);
}

void Session::log_gap(Transport transport, std::string_view channel, const Gap& gap,
                      std::string_view request) {
  const bool has_offsets = gap.lost_from <= gap.lost_to;
  log_loss({.event = ConnectionEvent::gap,
            .transport = transport,
            .reason = gap.is_skip   ? "skipped by slow_consumer"
                      : has_offsets ? "trimmed before the subscription could take them"
                                    : "the channel has a new epoch",
            .channel = channel,
            .request = request,
            .lost_from = has_offsets ? gap.lost_from : 0,
            .lost_to = has_offsets ? gap.lost_to : gap.position.offset});
}

void Session::log_not_recovered(Transport transport, std::string_view channel,
                                const SubscribeOutcome& outcome, std::string_view request) {
  // Never a gap: a client can have learned the epoch, and invented the offset.
  log_loss({.event = ConnectionEvent::not_recovered,
            .transport = transport,
            .reason = outcome.is_known ? "the history does not reach back to the client's position"
                                       : "the channel has not had the client's position, or recovery is "
                                         "not allowed",
            .channel = channel,
            .request = request,
            .lost_to = outcome.start.offset});
}

void Session::log_slow(Transport transport, std::string_view channel) {
  log_loss({.event = ConnectionEvent::slow,
            .transport = transport,
            .code = kDisconnectSlow.code,
            .reason = "too far behind; see slow_consumer of the channel",
            .channel = channel});
}

std::optional<SessionState> Session::save() const {
  if (has_open_question()) return std::nullopt;
  std::optional<SessionState::Kind> kind = save_kind();
  if (!kind) return std::nullopt;
  SessionState state{.kind = std::move(*kind)};
  if (connected_ms_ != 0) state.connected_age_ms = context_.clock.now_ms() - connected_ms_;
  if (end_) {
    state.end_code = end_->code;
    state.end_reason = end_->reason;
    state.is_end_goodbye = end_->is_goodbye;
  }
  return state;
}

std::string make_client_id(RandomSource& random) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::array<std::uint64_t, 2> bits{random.next(), random.next()};
  bits[0] = (bits[0] & ~0xf000ULL) | 0x4000ULL;                         // version 4
  bits[1] = (bits[1] & 0x3fffffffffffffffULL) | 0x8000000000000000ULL;  // variant 1
  std::string id;
  id.reserve(36);
  for (std::size_t digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) id.push_back('-');
    id.push_back(kHex[(bits[digit / 16] >> (60 - 4 * (digit % 16))) & 0xfU]);
  }
  return id;
}

}  // namespace carillon
