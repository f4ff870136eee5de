#include "gateway/listener.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <exception>
#include <thread>
#include <tuple>
#include <utility>

#include "gateway/fork_guard.hpp"
#include "gateway/thread_name.hpp"

namespace carillon {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr int kAcceptsPerEvent = 256;
constexpr auto kPauseAfterErrors = std::chrono::milliseconds(10);
constexpr int kTurnedAwayPerPause = 1'024;
constexpr std::size_t kReserve = 16;  // of each listener, of which a server has two by default

int accept_from(int listening) {
  ForkGuard guard;
  const int accepted = ::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  guard.add(accepted);
  return accepted;
}
}  // namespace

struct Listener::Io {
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer pause{context};
  std::thread thread;
};

Listener::Listener(const Options& options, Admission& admission, Handlers handlers)
    : options_(options), admission_(admission), handlers_(std::move(handlers)), io_(std::make_unique<Io>()) {
  fill_reserve();
  tcp::resolver resolver(io_->context);
  boost::system::error_code error;
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw std::system_error(std::make_error_code(std::errc::address_not_available),
                            "host: '" + options.host + "' is not an address of this machine");
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor& acceptor = io_->acceptor;
  const auto check = [&](const char* what) {
    if (error) throw std::system_error(error.value(), std::generic_category(), what);
  };
  Descriptor opened;  // by ourselves: Asio opens sockets that an executed program would keep
  {
    ForkGuard guard;
    opened =
        Descriptor(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error.assign(errno, boost::system::generic_category());
    if (opened.is_open()) error.clear();
    guard.add(opened.get());
  }
  check("socket");
  acceptor.assign(endpoint.protocol(), opened.get(), error);
  check("assign");
  std::ignore = opened.release();
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  check("SO_REUSEADDR");
  set_options();
  acceptor.bind(endpoint, error);
  check("bind");
  acceptor.listen(4'096, error);
  check("listen");
  acceptor.non_blocking(true, error);
  check("non_blocking");
  port_ = acceptor.local_endpoint(error).port();
  check("getsockname");
}

Listener::Listener(const Options& options, Descriptor listening, Admission& admission, Handlers handlers)
    : options_(options), admission_(admission), handlers_(std::move(handlers)), io_(std::make_unique<Io>()) {
  fill_reserve();
  tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(listening.get(), endpoint.data(), &size) != 0) {
    throw std::system_error(errno, std::generic_category(), "getsockname");
  }
  endpoint.resize(size);
  port_ = endpoint.port();
  io_->acceptor.assign(endpoint.protocol(), listening.get());
  std::ignore = listening.release();
  set_options();
}

Listener::~Listener() { stop(); }

void Listener::set_options() {
  // Accepted sockets inherit these, which saves calls per connection.
  boost::system::error_code ignored;
  io_->acceptor.set_option(tcp::no_delay(true), ignored);
  const int socket = io_->acceptor.native_handle();
  listening_ = socket;
  if (options_.kernel_backlog_bytes > 0) {
    const auto backlog = static_cast<unsigned>(options_.kernel_backlog_bytes);
    ::setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &backlog, sizeof backlog);
  }
  const auto timeout = static_cast<unsigned>(options_.stall_timeout_ms);
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
}

int Listener::descriptor() const { return io_->acceptor.native_handle(); }

std::size_t Listener::backlog() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  // Of a listening socket this is the length of its queue.
  return ::getsockopt(listening_.load(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_unacked : 0;
}

void Listener::hold(std::shared_ptr<HoldPoint> point) {
  asio::post(io_->context, [this, point = std::move(point)] {
    if (point->stop_here() == HoldPoint::Next::go_on) return;
    listening_ = -1;
    const int socket = io_->acceptor.release();  // out of the reactor: another process holds it, too
    ::close(socket);
    io_->context.stop();
  });
}

void Listener::start() {
  io_->thread = std::thread([this] {
    name_this_thread("carillon-accept");
    try {
      wait();
      io_->context.run();
      if (is_closing_) accept_last();
    } catch (const std::exception& error) {
      handlers_.failed(error.what());
    }
    listening_ = -1;
    // Also for whoever holds a copy of the socket. After a takeover it is closed here already.
    if (io_->acceptor.is_open()) ::shutdown(io_->acceptor.native_handle(), SHUT_RDWR);
    boost::system::error_code ignored;
    io_->acceptor.close(ignored);  // who comes now is refused, and does not wait in the backlog
  });
}

void Listener::stop_soon() { io_->context.stop(); }

void Listener::stop() {
  if (!io_->thread.joinable()) return;
  is_closing_ = true;
  stop_soon();
  io_->thread.join();
}

void Listener::wait() {
  io_->acceptor.async_wait(tcp::acceptor::wait_read, [this](const boost::system::error_code& error) {
    if (error) return;
    accept_waiting();
  });
}

void Listener::pause(Admission::Clock::duration duration) {
  io_->pause.expires_after(duration);
  io_->pause.async_wait([this](const boost::system::error_code& error) {
    if (!error) accept_waiting();
  });
}

void Listener::accept_waiting() {
  const int socket = io_->acceptor.native_handle();
  if (reserve_.size() < kReserve) fill_reserve();
  bool has_accepted = false;
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    if (const auto wait_for = admission_.begin_handshake(Admission::Clock::now())) {
      if (backlog() == 0) return wait();
      admission_.count_pause();
      return pause(*wait_for);
    }
    const int descriptor = accept_from(socket);
    if (descriptor >= 0) {
      has_accepted = true;
      handlers_.accepted(descriptor);
      continue;
    }
    admission_.give_back();
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      refuse_waiting();
      return pause(kPauseAfterErrors);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return wait();
    // The newcomer has gone again; any other error may be there to stay, and nobody is to spin for it.
    if (errno != ECONNABORTED && errno != EINTR) return pause(kPauseAfterErrors);
  }
  has_accepted ? wait() : pause(kPauseAfterErrors);
}

void Listener::accept_last() {
  if (!io_->acceptor.is_open()) return;  // another process has it
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    if (admission_.begin_handshake(Admission::Clock::now())) return;
    const int descriptor = accept_from(io_->acceptor.native_handle());
    if (descriptor < 0) return admission_.give_back();
    handlers_.accepted(descriptor);
  }
}

void Listener::fill_reserve() {
  while (reserve_.size() < kReserve) {
    Descriptor spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!spare.is_open()) return;
    reserve_.push_back(std::move(spare));
  }
}

void Listener::refuse_waiting() {
  // Nobody is to wait for an answer that cannot come. Who has said what it wants gets a refusal that it
  // understands; who says nothing must not hold a descriptor for which others wait.
  for (int i = 0; i < kTurnedAwayPerPause && !reserve_.empty(); ++i) {
    reserve_.pop_back();
    const int refused = accept_from(io_->acceptor.native_handle());
    if (refused < 0) break;
    char first = 0;
    const bool has_spoken = ::recv(refused, &first, 1, MSG_PEEK) > 0;
    if (has_spoken || reserve_.size() >= kReserve / 2) {
      handlers_.to_refuse(refused);
    } else {
      ::close(refused);
      handlers_.turned_away();
      fill_reserve();
    }
  }
  fill_reserve();
}

}  // namespace carillon
