// An event loop's part in a takeover: its connections are written down, and then it goes on with them or lets
// go of them.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loop/event_loop.hpp"

namespace carillon {

bool EventLoop::is_busy() { return shard_.is_under_way() || !output_.is_empty(); }

bool EventLoop::is_asking() const {
  return std::any_of(connections_.begin(), connections_.end(), [](const auto& connection) {
    return !connection->is_lingering && connection->session->has_open_question();
  });
}

void EventLoop::save(std::vector<ConnectionState>& states, std::vector<int>& descriptors,
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
    ConnectionState& saved = states.emplace_back();
    saved.session = std::move(*session);
    saved.unsent = outlet.unsent_view();
    saved.is_clogged = outlet.is_clogged;
    saved.wants_empty_notice = outlet.wants_empty_notice;
    saved.is_reading_paused = connection->is_reading_paused;
    saved.has_peer_closed = connection->has_peer_closed;
    saved.is_close_wanted = connection->is_close_wanted;
    saved.is_lingering = connection->is_lingering;
    saved.stalled_ms = clock_.now_ms() - outlet.progress_ms;
    saved.linger_left_ms = connection->until_ms - clock_.now_ms();
    saved.listener = connection->endpoint->number;
    descriptors.push_back(outlet.descriptor);
  }
}

void EventLoop::forget_saved() {
  for (const auto& connection : connections_) connection->is_saved = false;
}

void EventLoop::give_away_saved() {
  for (std::size_t i = connections_.size(); i > 0; --i) {  // backwards: the last one moves to where one goes
    Connection& connection = *connections_[i - 1];
    if (connection.is_saved) {
      connection.session->give_away();
      drop(connection);
    } else if (!connection.is_gone && !connection.is_lingering) {
      connection.session->drain();  // at once: nobody serves it here any more
    }
  }
  settle();
}

Connection* EventLoop::restore(const ConnectionState& state, int descriptor, Endpoint& endpoint) {
  clock_.refresh();
  auto connection = std::make_unique<Connection>();
  Connection& place = *connection;
  Outlet& outlet = place.outlet;
  if (!state.unsent.empty()) output_.keep(outlet, state.unsent);
  outlet.is_clogged = state.is_clogged;
  outlet.wants_empty_notice = state.wants_empty_notice;
  outlet.progress_ms = clock_.now_ms() - state.stalled_ms;
  place.is_reading_paused = state.is_reading_paused;
  place.has_peer_closed = state.has_peer_closed;
  place.is_close_wanted = state.is_close_wanted;
  place.is_lingering = outlet.is_closing = state.is_lingering;
  place.until_ms = clock_.now_ms() + state.linger_left_ms;
  place.endpoint = &endpoint;
  place.index = static_cast<std::uint32_t>(connections_.size());
  outlet.descriptor = descriptor;
  place.session = restore_session(context_of(endpoint), outlet, state.session);
  connections_.push_back(std::move(connection));
  shared_.connections.fetch_add(1);
  endpoint.connections.fetch_add(1);
  count_clogged(place);
  if (!sockets_.watch(place)) {
    drop(place);
    return nullptr;
  }
  wheel_.schedule(place, deadline_of(place));
  if (place.is_close_wanted) settle_later(place);
  read_on_later(outlet);  // its time may have been over when it was written down
  return &place;
}

void EventLoop::discard() {
  for (const auto& connection : connections_) connection->session->give_away();
  release();
}

}  // namespace carillon
