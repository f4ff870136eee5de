#include "gateway/gateway_shard.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <exception>
#include <system_error>
#include <tuple>
#include <utility>

#include "gateway/thread_name.hpp"
#include "gateway/uring_flush.hpp"
#include "hub/receipt.hpp"

namespace carillon {

namespace asio = boost::asio;

/// Connections stand in an epoll set of the shard's own, and Asio watches that set as one descriptor: an idle
/// connection costs no pending operation, and one turn takes the events of many.
struct GatewayShard::Io {
  Io() {
    const int set = ::epoll_create1(EPOLL_CLOEXEC);
    if (set < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
    events.assign(set);
  }
  asio::io_context context{1};
  asio::posix::stream_descriptor events{context};
  asio::steady_timer tick{context};
  asio::steady_timer sweep{context};
};

/// An accepted socket on its way to the shard: closed, unless a connection takes it.
struct GatewayShard::Arrival {
  Arrival(GatewayShared& gateway, Endpoint& its_endpoint, int accepted)
      : shared(gateway), endpoint(its_endpoint), descriptor(accepted) {
    shared.connections.fetch_add(1);
    endpoint.connections.fetch_add(1);
  }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;
  ~Arrival() {
    if (descriptor < 0) return;
    ::close(descriptor);
    shared.admission.end_handshake();
    shared.connections.fetch_sub(1);
    endpoint.connections.fetch_sub(1);
  }
  GatewayShared& shared;
  Endpoint& endpoint;
  int descriptor;
};

GatewayShard::GatewayShard(std::uint32_t index, GatewayShared& shared, TurnLimits turn_limits, Failed failed)
    : shared_(shared),
      failed_(std::move(failed)),
      io_(std::make_shared<Io>()),
      sockets_(io_->events.native_handle()),
      loop_(std::make_unique<EventLoop>(index, shared, sockets_, clock_, turn_limits, TimerWheel::kTickMs,
                                        [this, weak = std::weak_ptr<Io>(io_)] {
                                          if (const auto io = weak.lock())
                                            asio::post(io->context, [this] { turn(); });
                                        })) {}

GatewayShard::~GatewayShard() { stop(); }

void GatewayShard::start(bool with_uring) {
  thread_ = std::thread([this, with_uring] {
    name_this_thread("carillon-s" + std::to_string(shard().index()));
    shard().bind_to_this_thread();
    try {
      std::string why_not;
      if (with_uring) flush_ = UringFlush::make(why_not);  // a ring belongs to the thread that made it
      if (!flush_) flush_ = std::make_unique<SendFlush>();
      loop_->set_flush(*flush_);
      if (shared_.companion) companion_ = shared_.companion(io_->context, [this] { post_turn(); });
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
  try {
    failed_(*this, what);
  } catch (const std::exception&) {
    // Memory may be short. The first failure is the one that is told.
  }
  loop_->abandon();
}

void GatewayShard::stop() {
  if (!thread_.joinable()) return;
  shard().post([this] {
    loop_->stop();
    io_->context.stop();
  });
  thread_.join();
  shard().close();  // a socket on its way here is closed now, not when the server is forgotten
  loop_->release();
  flush_.reset();  // a ring is a descriptor
  companion_.reset();
  io_.reset();
}

// ---- what other threads ask for

void GatewayShard::adopt(int descriptor, bool is_over_limit, Endpoint& endpoint) {
  shard().post([this, arrival = std::make_shared<Arrival>(shared_, endpoint, descriptor), is_over_limit] {
    loop_->add(arrival->descriptor, is_over_limit, arrival->endpoint);
    arrival->descriptor = -1;
  });
}

void GatewayShard::cut(std::string client, std::function<void(bool)> done) {
  shard().run([this, client = std::move(client), receipt = std::make_shared<Receipt>(std::move(done))] {
    receipt->give(loop_->cut(client));
  });
}

void GatewayShard::for_each_session(std::function<void(Session&)> visit, std::function<void()> done) {
  auto receipt = std::make_shared<Receipt>([done = std::move(done)](bool /*has_run*/) { done(); });
  shard().run([this, visit = std::move(visit), receipt = std::move(receipt)] {
    loop_->for_each_session(visit, [receipt] { receipt->give(true); });
  });
}

void GatewayShard::drain(Endpoint& endpoint, Millis pace_ms) {
  // One more for this shard: nobody is to think that all have left before they are asked.
  endpoint.asked.fetch_add(1);
  auto receipt = std::make_shared<Receipt>([&endpoint](bool /*has_run*/) { endpoint.asked.fetch_sub(1); });
  shard().run([this, at = &endpoint, pace_ms, receipt = std::move(receipt)] {
    loop_->drain(*at, pace_ms);
    receipt->give(true);
  });
}

void GatewayShard::cut_off(const Endpoint& endpoint) {
  shard().run([this, at = &endpoint] { loop_->cut_off(*at); });
}

// ---- waiting

void GatewayShard::wait_for_events() {
  io_->events.async_wait(asio::posix::descriptor_base::wait_read,
                         [this](const boost::system::error_code& error) {
                           if (error) return;
                           loop_->take_events();
                           end_turn();
                           if (hold_) {
                             is_unarmed_ = true;
                             return;
                           }
                           wait_for_events();
                         });
}

void GatewayShard::wait_for_tick() {
  io_->tick.expires_after(std::chrono::milliseconds(TimerWheel::kTickMs));
  io_->tick.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    loop_->metrics().lag.observe_ns(
        std::chrono::nanoseconds(std::chrono::steady_clock::now() - io_->tick.expiry()).count());
    loop_->tick();
    end_turn();
    wait_for_tick();
  });
}

void GatewayShard::wait_for_sweep() {
  const std::optional<Millis> due_ms = loop_->due_ms();
  if (due_ms == sweep_due_ms_) return;
  sweep_due_ms_ = due_ms;
  io_->sweep.cancel();
  if (!due_ms) return;
  io_->sweep.expires_after(std::chrono::milliseconds(std::max<Millis>(0, *due_ms - loop_->now_ms())));
  io_->sweep.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sweep_due_ms_.reset();
    turn();
  });
}

void GatewayShard::turn() {
  is_turn_posted_ = false;
  loop_->turn();
  end_turn();
}

void GatewayShard::post_turn() {
  if (std::exchange(is_turn_posted_, true)) return;
  asio::post(io_->context, [this] { turn(); });
}

void GatewayShard::end_turn() {
  if (io_->context.stopped()) return;
  if (loop_->has_work()) post_turn();
  wait_for_sweep();
  if (hold_) stop_if_idle();
}

// ---- a takeover

void GatewayShard::hold(std::shared_ptr<HoldPoint> point, Millis answers_ms) {
  shard().post([this, point = std::move(point), answers_ms] {
    answers_until_ms_ = loop_->now_ms() + answers_ms;
    hold_ = point;
    loop_->stop_reading();
  });
}

void GatewayShard::stop_if_idle() {
  if (!hold_->is_over()) {
    const bool is_busy = loop_->is_busy();
    const bool is_asking = loop_->is_asking();
    hold_->report_idle(!is_busy && !is_asking);
    if (is_busy || !hold_->may_stop()) return;                     // another turn is posted, or will be
    if (is_asking && clock_.now_ms() < answers_until_ms_) return;  // the answer, or a tick, leads here again
  }
  const HoldPoint::Next next = hold_->stop_here();
  hold_.reset();
  loop_->read_again();
  next == HoldPoint::Next::give_away ? loop_->give_away_saved() : loop_->forget_saved();
  if (std::exchange(is_unarmed_, false)) wait_for_events();
  post_turn();
}

void GatewayShard::restore(const ConnectionState& state, Descriptor descriptor, Endpoint& endpoint) {
  loop_->restore(state, descriptor.get(), endpoint);
  std::ignore = descriptor.release();
  post_turn();  // as soon as the thread runs
}

void GatewayShard::discard() {
  shard().bind_to_this_thread();
  loop_->discard();
  Shard::unbind_this_thread();
}

}  // namespace carillon
