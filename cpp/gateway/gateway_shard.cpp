#include "gateway/gateway_shard.hpp"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <system_error>

#include "gateway/thread_name.hpp"
#include "gateway/uring_flush.hpp"
#include "hub/receipt.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "session/http_session.hpp"

namespace carillon {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kEventsPerCall = 64;
constexpr std::size_t kEventsPerTurn = 512;
constexpr std::size_t kMeasuredPerTick = 256;
constexpr int kDeadlinesPerTick = 1'024;  // 100,000 that are due at once are spread over 5 s

Connection& connection_of(Outlet& outlet) {
  // The outlet is the connection's first member.
  static_assert(offsetof(Connection, outlet) == 0);
  return *reinterpret_cast<Connection*>(&outlet);
}

/// Memory in which the kernel holds what a socket has still to send or to hear acknowledged.
std::uint32_t kernel_bytes_of(int descriptor) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  ::getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, memory.data(), &size);
  return memory[SK_MEMINFO_WMEM_QUEUED];
}

/// Is the peer's kernel silent, too? It has not answered the last data (sent again and again, if so), while
/// that of a client that is merely stopped goes on acknowledging probes of its full window.
bool is_silent(int descriptor) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_last_ack_recv > info.tcpi_last_data_sent;
}
}  // namespace

/// Connections stand in an epoll set of the shard's own, and Asio watches that set as one descriptor: an idle
/// connection costs no pending operation, and one turn takes the events of many.
struct GatewayShard::Io {
  asio::io_context context{1};
  asio::posix::stream_descriptor events{context};
  asio::steady_timer tick{context};
  asio::steady_timer pace{context};
};

/// An accepted socket on its way to the shard: closed, unless a connection takes it.
struct GatewayShard::Arrival {
  Arrival(GatewayShared& gateway, Entrance& its_entrance, int accepted)
      : shared(gateway), entrance(its_entrance), descriptor(accepted) {
    shared.connections.fetch_add(1);
    entrance.connections.fetch_add(1);
  }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;
  ~Arrival() {
    if (descriptor < 0) return;
    ::close(descriptor);
    shared.admission.leave();
    shared.connections.fetch_sub(1);
    entrance.connections.fetch_sub(1);
  }
  GatewayShared& shared;
  Entrance& entrance;
  int descriptor;
};

GatewayShard::GatewayShard(std::uint32_t index, GatewayShared& shared, TurnLimits turn_limits, Failed failed)
    : shared_(shared),
      failed_(std::move(failed)),
      io_(std::make_shared<Io>()),
      shard_(index, turn_limits, clock_,
             [this, weak = std::weak_ptr<Io>(io_)] {
               if (const auto io = weak.lock()) asio::post(io->context, [this] { turn(); });
             }),
      output_(shard_),
      wheel_(clock_.now_ms()),
      buffer_(kReadBytes) {
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  io_->events.assign(set);
}

GatewayShard::~GatewayShard() { stop(); }

SessionContext& GatewayShard::context_of(const Entrance& entrance) {
  if (contexts_.size() <= entrance.number) contexts_.resize(entrance.number + 1);
  std::unique_ptr<SessionContext>& context = contexts_[entrance.number];
  if (!context) {
    context = std::make_unique<SessionContext>(
        SessionContext{shared_.hub, shard_, output_, *this, shared_.access, shared_.origins, shared_.handler,
                       shared_.http, clock_, shared_.random, shared_.limits, shared_.heartbeat, counters_,
                       entrance.is_draining, shared_.version, shared_.log});
  }
  return *context;
}

void GatewayShard::start(bool with_uring) {
  thread_ = std::thread([this, with_uring] {
    name_this_thread("carillon-s" + std::to_string(shard_.index()));
    shard_.bind_to_this_thread();
    try {
      std::string why_not;
      if (with_uring) flush_ = UringFlush::make(why_not);  // a ring belongs to the thread that made it
      if (!flush_) flush_ = std::make_unique<SendFlush>();
      wait_for_events();
      wait_for_tick();
      io_->context.run();
    } catch (const std::exception& error) {
      fail(error.what());
    } catch (...) {
      fail("an unknown exception");
    }
    Shard::unbind_this_thread();
  });
}

void GatewayShard::fail(const char* what) {
  // As far as it goes: memory may be short, and what was interrupted is not whole.
  const auto try_to = [](const auto& step) {
    try {
      step();
    } catch (const std::exception&) {
      return;  // the first failure is the one that is told
    }
  };
  try_to([&] { failed_(*this, what); });
  for (const auto& connection : connections_) {
    try_to([&] {
      connection->session->note_end(0, "the server failed");
      connection->session->let_go();
    });
  }
  shard_.close();
  release_connections();
}

void GatewayShard::release_connections() {
  replaced_.clear();
  for (const auto& connection : graveyard_) ::close(connection->outlet.descriptor);
  graveyard_.clear();
  for (const auto& connection : connections_) {
    ::close(connection->outlet.descriptor);
    connection->is_gone = true;
    end_handshake(*connection);
    count_left(*connection);
    connection->entrance->connections.fetch_sub(1);
    count_clogged(*connection);
    set_kernel_bytes(*connection, 0);
  }
  shared_.connections.fetch_sub(connections_.size());
  connections_.clear();
}

void GatewayShard::stop() {
  if (!thread_.joinable()) return;
  shard_.post([this] {
    is_stopping_ = true;
    for (const auto& connection : connections_) {
      if (connection->is_gone) continue;
      connection->session->note_end(0, "the server stopped");
      connection->session->let_go();
    }
    io_->context.stop();
  });
  thread_.join();
  shard_.close();  // a socket on its way here is closed now, not when the server is forgotten
  release_connections();
  flush_.reset();  // a ring is a descriptor
  io_.reset();
}

void GatewayShard::adopt(int descriptor, bool is_over_limit, Entrance& entrance) {
  shard_.post([this, arrival = std::make_shared<Arrival>(shared_, entrance, descriptor), is_over_limit] {
    auto connection = std::make_unique<Connection>();
    Connection& place = *connection;
    place.entrance = &arrival->entrance;
    place.outlet.descriptor = arrival->descriptor;
    place.index = static_cast<std::uint32_t>(connections_.size());
    place.session = std::make_unique<HttpSession>(context_of(*place.entrance), place.outlet, is_over_limit);
    place.outlet.session = place.session.get();
    place.is_handshaking = true;
    place.until_ms = clock_.now_ms() + shared_.limits.handshake_place_ms;
    connections_.push_back(std::move(connection));
    arrival->descriptor = -1;
    if (!watch(place)) return drop(place);
    wheel_.schedule(place, deadline_of(place));
  });
}

void GatewayShard::end_handshake(Outlet& outlet) { end_handshake(connection_of(outlet)); }

void GatewayShard::end_handshake(Connection& connection) {
  if (std::exchange(connection.is_handshaking, false)) shared_.admission.leave();
}

bool GatewayShard::watch(Connection& connection) {
  // Edge-triggered for both directions from the start: a connection that clogs needs no further call.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  const int descriptor = connection.outlet.descriptor;
  return ::epoll_ctl(io_->events.native_handle(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void GatewayShard::unwatch(const Connection& connection) {
  ::epoll_ctl(io_->events.native_handle(), EPOLL_CTL_DEL, connection.outlet.descriptor, nullptr);
}

void GatewayShard::cut(std::string client, std::function<void(bool)> done) {
  shard_.run([this, client = std::move(client), receipt = std::make_shared<Receipt>(std::move(done))] {
    bool is_here = false;
    for (const auto& connection : connections_) {
      if (connection->is_gone || connection->outlet.session->client_id() != client) continue;
      is_here = connection->is_cut = true;
      connection->session->note_end(0, "cut by the server");
      settle_later(*connection);
    }
    receipt->give(is_here);
  });
}

void GatewayShard::for_each_session(std::function<void(Session&)> visit, std::function<void()> done) {
  auto receipt = std::make_shared<Receipt>([done = std::move(done)](bool /*has_run*/) { done(); });
  shard_.run([this, visit = std::move(visit), receipt = std::move(receipt)] {
    for (const auto& connection : connections_) {
      if (!connection->is_gone && !connection->is_lingering) visit(*connection->outlet.session);
    }
    receipt->give(true);
  });
}

// ---- events

void GatewayShard::wait_for_events() {
  io_->events.async_wait(asio::posix::descriptor_base::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (error) return;
                           take_events();
                           tick_if_all_is_seen();
                           if (hold_) {
                             is_unarmed_ = true;
                             return;
                           }
                           wait_for_events();
                         });
}

void GatewayShard::take_events() {
  if (hold_) return end_turn();
  clock_.refresh();
  if (read_ready() > 0) end_turn();
}

std::size_t GatewayShard::read_ready() {
  // Handshakes cost much more than deliveries: in a storm of them the others are not to wait for all of
  // these.
  const Millis until_ms = clock_.now_ms() + shared_.limits.read_ms_per_turn;
  std::array<epoll_event, kEventsPerCall> events;
  std::size_t seen = 0;
  bool is_more_there = true;
  do {
    const int count =
        ::epoll_wait(io_->events.native_handle(), events.data(), static_cast<int>(kEventsPerCall), 0);
    const auto found = static_cast<std::size_t>(std::max(count, 0));
    for (std::size_t i = 0; i < found; ++i) {
      on_event(*static_cast<Connection*>(events[i].data.ptr), events[i].events);
    }
    seen += found;
    is_more_there = found == kEventsPerCall;
    clock_.refresh();
  } while (is_more_there && seen < kEventsPerTurn && clock_.now_ms() < until_ms);
  unseen_ -= is_more_there ? std::min(unseen_, seen) : unseen_;
  return seen;
}

void GatewayShard::on_event(Connection& connection, std::uint32_t events) {
  if (connection.is_gone) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {  // before anything is sent: send() would take the error away
    return drop_broken(connection);
  }
  Outlet& outlet = connection.outlet;
  if ((events & EPOLLOUT) != 0 && outlet.is_clogged) {
    if (flush_->flush_rest(outlet, clock_.now_ms(), report_)) {
      count_clogged(connection);
      outlet.wants_empty_notice = false;
      outlet.session->on_outlet_empty();
      if (connection.is_close_wanted) settle_later(connection);
    }
  }
  if ((events & EPOLLRDHUP) != 0) connection.has_hangup = true;
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) {
    if (connection.is_reading_paused) {
      connection.has_unread = true;
      if ((events & EPOLLRDHUP) != 0) {  // what is unsent leaves first, then nobody is there any more
        connection.has_peer_closed = connection.is_close_wanted = true;
        settle_later(connection);
      }
    } else {
      read(connection);
    }
  }
}

void GatewayShard::count_clogged(Connection& connection) {
  const bool is_clogged = connection.outlet.is_clogged && !connection.is_gone;
  if (std::exchange(connection.is_counted_clogged, is_clogged) == is_clogged) return;
  if (is_clogged) {
    counters_.clogged.fetch_add(1, std::memory_order_relaxed);
  } else {
    counters_.clogged.fetch_sub(1, std::memory_order_relaxed);
  }
}

void GatewayShard::set_kernel_bytes(Connection& connection, std::uint32_t bytes) {
  counters_.kernel_bytes.fetch_add(std::uint64_t{bytes} - connection.kernel_bytes, std::memory_order_relaxed);
  connection.kernel_bytes = bytes;
}

void GatewayShard::measure_some() {
  // It is a system call each: a bounded number per tick, in turns.
  const std::size_t count = std::min(connections_.size(), kMeasuredPerTick);
  for (std::size_t i = 0; i < count; ++i) {
    next_measured_ = (next_measured_ + 1) % connections_.size();
    Connection& connection = *connections_[next_measured_];
    set_kernel_bytes(connection, kernel_bytes_of(connection.outlet.descriptor));
  }
}

void GatewayShard::lost(Connection& connection) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(connection.outlet.descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
  // TCP_USER_TIMEOUT: the kernel saw the stall first, on its own clock. Without bytes of ours that wait, too:
  // those that it has taken were never acknowledged.
  if (error == ETIMEDOUT) return stalled(connection);
  connection.session->note_end(0, "the connection was lost");
}

void GatewayShard::drop_broken(Connection& connection) {
  if (connection.is_gone) return;
  if (!connection.is_lingering) lost(connection);
  drop(connection);
}

void GatewayShard::stalled(Connection& connection) {
  if (is_silent(connection.outlet.descriptor)) {
    counters_.no_ack.fetch_add(1, std::memory_order_relaxed);
    return connection.session->note_end(0, "no ack: the peer has vanished");
  }
  counters_.slow.fetch_add(1, std::memory_order_relaxed);
  connection.session->note_end(kDisconnectSlow.code, "slow: took nothing of what waited for it");
}

void GatewayShard::read(Connection& connection) {
  const ssize_t count = ::recv(connection.outlet.descriptor, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (count < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) drop_broken(connection);
    return;
  }
  if (count == 0) {
    connection.has_peer_closed = true;
    // What is already on its way to the peer still leaves; then nobody is there any more.
    connection.is_close_wanted = true;
    return settle_later(connection);
  }
  if (!connection.is_lingering && !connection.is_close_wanted) {
    connection.outlet.session->on_bytes({buffer_.data(), static_cast<std::size_t>(count)});
  }
  // A full buffer was not all there is, and behind a hang-up stands the end: it is asked again, after the
  // others.
  const bool has_more = connection.has_hangup || static_cast<std::size_t>(count) == buffer_.size();
  if (has_more && !connection.is_read_queued && !connection.is_gone) {
    connection.is_read_queued = true;
    read_queue_.push_back(&connection);
  }
}

void GatewayShard::read_queued() {
  std::vector<Connection*> queue;
  queue.swap(read_queue_);
  for (Connection* connection : queue) {
    connection->is_read_queued = false;
    if (connection->is_gone) continue;
    if (connection->is_reading_paused) {
      connection->has_unread = true;
    } else {
      read(*connection);
    }
  }
}

// ---- time

void GatewayShard::wait_for_tick() {
  io_->tick.expires_after(std::chrono::milliseconds(TimerWheel::kTickMs));
  io_->tick.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    if (!std::exchange(is_tick_waiting_, true)) unseen_ = connections_.size();
    take_events();
    tick_if_all_is_seen();
    wait_for_tick();
  });
}

void GatewayShard::wait_for_pace() {
  const std::optional<Millis> due_ms = shard_.due_ms();
  if (due_ms == paced_until_ms_) return;
  paced_until_ms_ = due_ms;
  io_->pace.cancel();
  if (!due_ms) return;
  io_->pace.expires_after(std::chrono::milliseconds(std::max<Millis>(0, *due_ms - clock_.now_ms())));
  io_->pace.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    paced_until_ms_.reset();
    turn();
  });
}

void GatewayShard::tick_if_all_is_seen() {
  // What came in time may wait in a socket behind more events than one turn takes: deadlines are judged when
  // every connection that was ready at the tick has been read.
  if (!is_tick_waiting_ || unseen_ > 0 || is_stopping_ || hold_) return;
  is_tick_waiting_ = false;
  on_tick();
}

Millis GatewayShard::deadline_of(const Connection& connection) const {
  if (connection.is_lingering) return connection.until_ms;
  Millis deadline = connection.outlet.session->deadline();
  if (connection.is_leaving || connection.is_handshaking) deadline = std::min(deadline, connection.until_ms);
  if (connection.outlet.is_clogged) {
    deadline = std::min(deadline, connection.outlet.progress_ms + shared_.limits.stall_timeout_ms);
  }
  return deadline;
}

void GatewayShard::on_tick() {
  measure_some();
  due_.clear();
  wheel_.advance(clock_.now_ms(), due_);
  const Millis now = clock_.now_ms();
  bool is_anything_due = false;
  int room = kDeadlinesPerTick;
  for (Connection* connection : due_) {
    if (connection->is_gone) continue;
    if (deadline_of(*connection) <= now) {
      if (room-- <= 0) {  // those of many at once are spread over ticks: others have their turns in between
        wheel_.schedule(*connection, now + TimerWheel::kTickMs);
        continue;
      }
      is_anything_due = true;
      const Outlet& outlet = connection->outlet;
      if (connection->is_lingering) {
        drop(*connection);
      } else if (outlet.is_clogged && outlet.progress_ms + shared_.limits.stall_timeout_ms <= now) {
        stalled(*connection);
        drop(*connection);
      } else if (connection->is_leaving && connection->until_ms <= now) {
        connection->is_leaving = false;
        outlet.session->drain();
      } else if (connection->is_handshaking && connection->until_ms <= now) {
        end_handshake(*connection);
      } else {
        outlet.session->on_deadline(now);
      }
    }
    if (!connection->is_gone) wheel_.schedule(*connection, deadline_of(*connection));
  }
  if (is_anything_due) end_turn();
}

void GatewayShard::drain(Entrance& entrance, Millis pace_ms) {
  // One more for this shard: nobody is to think that all have left before they are asked.
  entrance.asked.fetch_add(1);
  auto receipt = std::make_shared<Receipt>([&entrance](bool /*has_run*/) { entrance.asked.fetch_sub(1); });
  shard_.run([this, at = &entrance, pace_ms, receipt = std::move(receipt)] {
    const auto pace = static_cast<std::uint64_t>(std::max<Millis>(0, pace_ms));
    for (const auto& connection : connections_) {
      if (connection->entrance != at || connection->is_gone || connection->is_lingering) continue;
      if (!std::exchange(connection->is_asked, true)) at->asked.fetch_add(1);
      end_handshake(*connection);
      connection->is_leaving = true;
      connection->until_ms = clock_.now_ms() + static_cast<Millis>(shared_.random.below(pace + 1));
      wheel_.schedule(*connection, deadline_of(*connection));
    }
    receipt->give(true);
  });
}

void GatewayShard::count_left(Connection& connection) {
  if (std::exchange(connection.is_asked, false)) connection.entrance->asked.fetch_sub(1);
}

void GatewayShard::cut_off(const Entrance& entrance) {
  shard_.run([this, at = &entrance] {
    for (const auto& connection : connections_) {
      if (connection->entrance != at || connection->is_gone) continue;
      connection->is_cut = true;
      connection->session->note_end(0, "cut off at the end of a drain");
      settle_later(*connection);
    }
  });
}

// ---- a turn

void GatewayShard::turn() {
  is_turn_posted_ = false;
  clock_.refresh();
  if (!hold_ && !is_stopping_) read_ready();  // else it would wait for one more turn of a large fan-out
  end_turn();
  tick_if_all_is_seen();
}

void GatewayShard::post_turn() {
  if (std::exchange(is_turn_posted_, true)) return;
  asio::post(io_->context, [this] { turn(); });
}

void GatewayShard::end_turn() {
  if (!hold_) read_queued();
  shard_.turn();
  if (is_stopping_) return output_.clear();  // everything is closed: nothing may begin any more
  finishing_.swap(output_.finishing());
  for (std::size_t i = 0; i < finishing_.size(); ++i) {
    if (finishing_[i] != nullptr) finishing_[i]->finish_turn();
  }
  finishing_.clear();
  flush();
  settle();
  const bool has_unread = !read_queue_.empty() && !hold_;
  if (shard_.has_work() || has_unread || !output_.finishing().empty() || !output_.is_empty()) {
    post_turn();
  }
  wait_for_pace();
  if (hold_) stop_if_at_rest();
}

void GatewayShard::flush() {
  // Sessions that are told of an empty outlet may write again; a third round waits for the next turn.
  for (int round = 0; round < 2 && !output_.is_empty(); ++round) {
    flush_->flush(output_, clock_.now_ms(), report_);
    output_.clear();
    FlushReport report;
    std::swap(report, report_);
    for (Outlet* outlet : report.broken) drop_broken(connection_of(*outlet));
    for (Outlet* outlet : report.clogged) {
      Connection& connection = connection_of(*outlet);
      count_clogged(connection);
      if (!connection.is_gone) wheel_.schedule(connection, deadline_of(connection));
    }
    for (Outlet* outlet : report.emptied) {
      if (connection_of(*outlet).is_gone) continue;
      outlet->wants_empty_notice = false;
      outlet->session->on_outlet_empty();
    }
    report.clear();
    if (report_.broken.empty()) std::swap(report, report_);  // keeps the vectors' memory
  }
  for (Outlet* outlet : report_.broken) drop_broken(connection_of(*outlet));
  report_.clear();
}

// ---- what sessions ask for

void GatewayShard::close(Outlet& outlet) {
  Connection& connection = connection_of(outlet);
  connection.is_close_wanted = true;
  settle_later(connection);
}

void GatewayShard::replace(Outlet& outlet, std::unique_ptr<Session> successor) {
  Connection& connection = connection_of(outlet);
  outlet.session = successor.get();
  replaced_.push_back(std::move(connection.session));
  connection.session = std::move(successor);
  wheel_.schedule(connection, deadline_of(connection));
}

void GatewayShard::pause_reading(Outlet& outlet, bool is_paused) {
  Connection& connection = connection_of(outlet);
  connection.is_reading_paused = is_paused;
  if (is_paused || !std::exchange(connection.has_unread, false) || connection.is_read_queued) return;
  connection.is_read_queued = true;
  read_queue_.push_back(&connection);
}

void GatewayShard::reschedule(Outlet& outlet) {
  Connection& connection = connection_of(outlet);
  // A session under construction is not in its place yet; it is scheduled when it is.
  if (outlet.session != nullptr && !connection.is_gone) wheel_.schedule(connection, deadline_of(connection));
}

std::string GatewayShard::peer(const Outlet& outlet) const {
  // Asked for when a record is written, so that an idle connection keeps nothing for it.
  tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  bool is_known = ::getpeername(outlet.descriptor, endpoint.data(), &size) == 0;
  // A connection that was reset has no peer any more, but Linux remembers; it wants the exact size.
  for (const std::size_t exact : {sizeof(sockaddr_in6), sizeof(sockaddr_in)}) {
    if (is_known) break;
    size = static_cast<socklen_t>(exact);
    is_known = ::getsockopt(outlet.descriptor, SOL_SOCKET, SO_PEERNAME, endpoint.data(), &size) == 0;
  }
  if (!is_known) return {};
  endpoint.resize(size);
  const std::string port = ":" + std::to_string(endpoint.port());
  const asio::ip::address address = endpoint.address();
  return (address.is_v6() ? "[" + address.to_string() + "]" : address.to_string()) + port;
}

void GatewayShard::settle_later(Connection& connection) {
  if (connection.is_settling) return;
  connection.is_settling = true;
  settling_.push_back(&connection);
}

void GatewayShard::settle() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < settling_.size(); ++i) {
    Connection& connection = *settling_[i];
    if (connection.is_cut) drop(connection);
    if (!connection.is_gone && connection.outlet.last_slice != nullptr) {  // the next flush comes first
      settling_[kept++] = &connection;
      continue;
    }
    connection.is_settling = false;
    if (connection.is_gone || !connection.is_close_wanted || connection.outlet.is_clogged) continue;
    if (connection.has_peer_closed) {
      drop(connection);
    } else if (!connection.is_lingering) {
      begin_linger(connection);
    }
  }
  settling_.resize(kept);
  replaced_.clear();
  for (const auto& connection : graveyard_) ::close(connection->outlet.descriptor);
  graveyard_.clear();
}

void GatewayShard::begin_linger(Connection& connection) {
  // Closing while the peer still sends would reset the connection and take our last words with it.
  connection.session->let_go();
  count_left(connection);
  connection.is_lingering = true;
  connection.is_reading_paused = false;
  connection.outlet.is_closing = true;
  connection.until_ms = clock_.now_ms() + std::min<Millis>(2'000, shared_.limits.close_timeout_ms);
  ::shutdown(connection.outlet.descriptor, SHUT_WR);
  wheel_.schedule(connection, connection.until_ms);
  if (connection.has_unread && !connection.is_read_queued) {
    connection.is_read_queued = true;
    read_queue_.push_back(&connection);
  }
}

void GatewayShard::drop(Connection& connection) {
  if (connection.is_gone) return;
  connection.is_gone = true;
  end_handshake(connection);
  count_left(connection);
  connection.entrance->connections.fetch_sub(1);
  count_clogged(connection);
  set_kernel_bytes(connection, 0);
  if (!connection.is_lingering) connection.session->let_go();
  wheel_.remove(connection);
  std::erase(read_queue_, &connection);
  // The descriptor stays open until the turn is over: its number must not be given to another connection
  // before.
  const std::uint32_t index = connection.index;
  graveyard_.push_back(std::move(connections_[index]));
  if (index + 1 < connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
  shared_.connections.fetch_sub(1);
}

}  // namespace carillon
