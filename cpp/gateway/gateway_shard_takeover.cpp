// A shard's part in a takeover: it stops at the end of a turn, its connections are written down, and then it
// goes on with them or lets go of them.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gateway/gateway_shard.hpp"

namespace carillon {

void GatewayShard::hold(std::shared_ptr<HoldPoint> point, Millis answers_ms) {
  shard_.post([this, point = std::move(point), answers_ms] {
    answers_until_ms_ = clock_.now_ms() + answers_ms;
    hold_ = point;
  });
}

void GatewayShard::stop_if_at_rest() {
  if (!hold_->is_over()) {
    const bool is_busy = shard_.is_under_way() || !output_.is_empty();
    const bool is_asking = std::any_of(connections_.begin(), connections_.end(), [](const auto& connection) {
      return !connection->is_lingering && connection->session->has_open_question();
    });
    hold_->rest(!is_busy && !is_asking);
    if (is_busy || !hold_->may_stop()) return;  // another turn is posted, or will be
    clock_.refresh();
    if (is_asking && clock_.now_ms() < answers_until_ms_) return;  // the answer, or a tick, leads here again
  }
  const HoldPoint::Next next = hold_->stop_here();
  hold_.reset();
  next == HoldPoint::Next::give_away ? give_away_saved() : forget_saved();
  if (std::exchange(is_unarmed_, false)) wait_for_events();
  post_turn();
}

void GatewayShard::save(GatewayState& state, std::vector<int>& descriptors,
                        std::vector<std::string>& left_behind) {
  clock_.refresh();
  for (const auto& connection : connections_) {
    std::optional<SessionState> session = connection->session->save();
    connection->is_saved = session.has_value();
    if (!session) {
      left_behind.emplace_back(connection->session->client_id());
      continue;
    }
    const Outlet& outlet = connection->outlet;
    ConnectionState& saved = state.connections.emplace_back();
    saved.session = std::move(*session);
    saved.rest = outlet.rest_view();
    saved.is_clogged = outlet.is_clogged;
    saved.wants_empty_notice = outlet.wants_empty_notice;
    saved.is_reading_paused = connection->is_reading_paused;
    saved.has_peer_closed = connection->has_peer_closed;
    saved.is_close_wanted = connection->is_close_wanted;
    saved.is_lingering = connection->is_lingering;
    saved.stalled_ms = clock_.now_ms() - outlet.progress_ms;
    saved.linger_left_ms = connection->until_ms - clock_.now_ms();
    saved.listener = connection->entrance->number;
    descriptors.push_back(outlet.descriptor);
  }
}

void GatewayShard::forget_saved() {
  for (const auto& connection : connections_) connection->is_saved = false;
}

void GatewayShard::give_away_saved() {
  for (std::size_t i = connections_.size(); i > 0; --i) {  // backwards: the last one moves to where one goes
    Connection& connection = *connections_[i - 1];
    if (!connection.is_saved) continue;
    unwatch(connection);  // the other process holds the socket: closing it here would not end its events
    connection.session->give_away();
    drop(connection);
  }
  settle();
}

void GatewayShard::restore(const ConnectionState& state, Descriptor descriptor, Entrance& entrance) {
  clock_.refresh();
  auto connection = std::make_unique<Connection>();
  Connection& place = *connection;
  Outlet& outlet = place.outlet;
  if (!state.rest.empty()) outlet.rest = std::make_unique<std::string>(state.rest);
  outlet.is_clogged = state.is_clogged;
  outlet.wants_empty_notice = state.wants_empty_notice;
  outlet.progress_ms = clock_.now_ms() - state.stalled_ms;
  place.is_reading_paused = state.is_reading_paused;
  place.has_peer_closed = state.has_peer_closed;
  place.is_close_wanted = state.is_close_wanted;
  place.is_lingering = outlet.is_closing = state.is_lingering;
  place.until_ms = clock_.now_ms() + state.linger_left_ms;
  place.entrance = &entrance;
  place.index = static_cast<std::uint32_t>(connections_.size());
  outlet.descriptor = descriptor.get();
  place.session = restore_session(context_of(entrance), outlet, state.session);
  outlet.session = place.session.get();
  connections_.push_back(std::move(connection));
  shared_.connections.fetch_add(1);
  entrance.connections.fetch_add(1);
  std::ignore = descriptor.release();
  count_clogged(place);
  if (!watch(place)) return drop(place);
  wheel_.schedule(place, deadline_of(place));
  if (place.is_close_wanted) settle_later(place);
  post_turn();  // as soon as the thread runs
}

void GatewayShard::discard() {
  shard_.bind_to_this_thread();
  for (const auto& connection : connections_) connection->session->give_away();
  release_connections();
  Shard::unbind_this_thread();
}

}  // namespace carillon
