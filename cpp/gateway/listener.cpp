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

#include "gateway/thread_name.hpp"

namespace carillon {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr int kAcceptsPerEvent = 256;
constexpr auto kPauseWithoutDescriptors = std::chrono::milliseconds(50);
constexpr int kTurnedAwayPerPause = 1'024;
}  // namespace

struct Listener::Io {
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer pause{context};
  int spare =
      ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // given up to refuse a connection when descriptors run out
  std::thread thread;
  ~Io() {
    if (spare >= 0) ::close(spare);
  }
};

Listener::Listener(const Options& options, Accepted accepted, TurnedAway turned_away, Failed failed)
    : options_(options),
      accepted_(std::move(accepted)),
      turned_away_(std::move(turned_away)),
      failed_(std::move(failed)),
      io_(std::make_unique<Io>()) {
  tcp::resolver resolver(io_->context);
  boost::system::error_code error;
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw std::system_error(std::make_error_code(std::errc::address_not_available),
                            "host: '" + options.host + "' is no address of this machine");
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor& acceptor = io_->acceptor;
  const auto check = [&](const char* what) {
    if (error) throw std::system_error(error.value(), std::generic_category(), what);
  };
  acceptor.open(endpoint.protocol(), error);
  check("socket");
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

Listener::Listener(const Options& options, Descriptor listening, Accepted accepted, TurnedAway turned_away,
                   Failed failed)
    : options_(options),
      accepted_(std::move(accepted)),
      turned_away_(std::move(turned_away)),
      failed_(std::move(failed)),
      io_(std::make_unique<Io>()) {
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
  if (options_.kernel_backlog_bytes > 0) {
    const auto backlog = static_cast<unsigned>(options_.kernel_backlog_bytes);
    ::setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &backlog, sizeof backlog);
  }
  const auto timeout = static_cast<unsigned>(options_.stall_timeout_ms);
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
}

int Listener::descriptor() const { return io_->acceptor.native_handle(); }

void Listener::hold(std::shared_ptr<HoldPoint> point) {
  asio::post(io_->context, [this, point = std::move(point)] {
    if (point->stop_here() == HoldPoint::Next::go_on) return;
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
    } catch (const std::exception& error) {
      failed_(error.what());
    }
    boost::system::error_code ignored;
    io_->acceptor.close(ignored);  // who comes now is refused, and does not wait in the backlog
  });
}

void Listener::stop_soon() { io_->context.stop(); }

void Listener::stop() {
  if (!io_->thread.joinable()) return;
  stop_soon();
  io_->thread.join();
}

void Listener::wait() {
  io_->acceptor.async_wait(tcp::acceptor::wait_read, [this](const boost::system::error_code& error) {
    if (error) return;
    accept_waiting();
  });
}

void Listener::accept_waiting() {
  const int socket = io_->acceptor.native_handle();
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    const int descriptor = ::accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
      accepted_(descriptor);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      turn_away_waiting();
      io_->pause.expires_after(kPauseWithoutDescriptors);
      io_->pause.async_wait([this](const boost::system::error_code& error) {
        if (!error) wait();
      });
      return;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
  }
  wait();
}

void Listener::turn_away_waiting() {
  // Nobody is to wait for an answer that cannot come: the descriptor kept for this serves one after the
  // other.
  if (io_->spare >= 0) ::close(std::exchange(io_->spare, -1));
  for (int i = 0; i < kTurnedAwayPerPause; ++i) {
    const int refused = ::accept4(io_->acceptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
    if (refused < 0) break;
    ::close(refused);
    turned_away_();
  }
  io_->spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

}  // namespace carillon
