// Cuts: links that are lost, and subscribers that come back with their positions.
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "load/nanoseconds.hpp"
#include "load/worker.hpp"

namespace carillon::load {

namespace {

// A close costs some 20 µs: those that stay are to be read in between, or their latency is the generator's.
constexpr std::size_t kCutsPerStep = 16;

std::uint64_t below(std::minstd_rand& random, std::uint64_t bound) {
  return std::uniform_int_distribution<std::uint64_t>(0, bound)(random);
}

}  // namespace

void Worker::step_cuts() {
  if (cuts_.next_ns == 0) return;
  const std::uint64_t now = clock_ns();
  if (!cuts_.is_under_way && cuts_.done < settings_.cuts && now >= cuts_.next_ns) cut();
  if (!cuts_.is_under_way) return;
  cut_some();
  if (!cuts_.has_returns && now >= cuts_.returns_ns) {
    cuts_.has_returns = true;
    cuts_.cpu_before = server_.cpu();
  }
  while (!cuts_.away.empty() && cuts_.away.top().first <= now) {
    Line& line = *cuts_.away.top().second;
    cuts_.away.pop();
    start_connecting(line);
  }
  if (cuts_.to_cut > 0 || !cuts_.away.empty() || live_ < subscribers_.size()) {
    if (now > cuts_.returns_ns + to_ns(settings_.return_s + settings_.timeout_s) && !has_failed()) {
      report_.stalled = 1;
      fail("stalled", "not all were live again within the time-out: " + std::to_string(live_) + " of " +
                          std::to_string(subscribers_.size()));
    }
    return;
  }
  report_.cuts.all_live_s.push_back(static_cast<double>(now - cuts_.returns_ns) / 1e9);
  report_.cuts.server_cpu_ns += server_.cpu().total_ns - cuts_.cpu_before.total_ns;
  cuts_.is_under_way = false;
  cuts_.quiet_ns = now;
  cuts_.next_ns = std::max(cuts_.next_ns + to_ns(settings_.cut_every_s), now + kNsPerS);
}

void Worker::cut() {
  const std::uint64_t now = clock_ns();
  ++cuts_.done;
  cuts_.is_under_way = true;
  cuts_.has_returns = false;
  cuts_.returns_ns = now + to_ns(settings_.cut_s);
  cuts_.to_cut = subscribers_.size();
}

void Worker::cut_some() {
  for (std::size_t room = kCutsPerStep; cuts_.to_cut > 0 && room > 0; --cuts_.to_cut) {
    Line& line = subscribers_[cuts_.to_cut - 1];
    if (!comes_back(line) || line.stage == Line::Stage::away) continue;
    send_away(line, cuts_.returns_ns + below(cuts_.random, to_ns(settings_.return_s)));
    --room;
  }
}

void Worker::send_away(Line& line, std::uint64_t until_ns) {
  if (line.fd >= 0) {
    const linger at_once{1, 0};  // a reset: what is on its way is lost, as it is with the link
    setsockopt(line.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(std::exchange(line.fd, -1));
  }
  if (line.stage == Line::Stage::live) {
    --live_;
    state_.live.fetch_sub(1, std::memory_order_relaxed);
  }
  line.stage = Line::Stage::away;
  line.is_chunked = false;
  line.partial.clear();
  line.outgoing.clear();
  cuts_.away.emplace(until_ns, &line);
}

bool Worker::comes_back(const Line& line) const {
  const bool can_be_lost = cuts_.done > 0 || (settings_.return_port > 0 && cuts_.next_ns > 0);
  return can_be_lost && !line.is_publisher && line.index >= settings_.staying;
}

void Worker::come_back_later(Line& line) {
  if (line.stage == Line::Stage::away) return;
  line.has_moved = settings_.return_port > 0;
  ++(line.stage == Line::Stage::live ? report_.cuts.closed : report_.cuts.retries);
  if (!std::exchange(cuts_.is_under_way, true)) {  // it was lost by itself
    cuts_.has_returns = false;
    cuts_.returns_ns = clock_ns();
  }
  send_away(line, clock_ns() + kNsPerS / 2 + below(cuts_.random, kNsPerS));
}

bool Worker::has_cuts_left() const {
  return settings_.has_returns() &&
         (cuts_.done < settings_.cuts || cuts_.is_under_way || clock_ns() < cuts_.quiet_ns + kNsPerS);
}

void Worker::on_not_recovered(Line& /*line*/) { ++report_.cuts.not_recovered; }

}  // namespace carillon::load
