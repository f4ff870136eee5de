#include "proxy/asio_links.hpp"

#include <sys/socket.h>
#include <unistd.h>
#include <cerrno>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace carillon {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAddressesAge = std::chrono::seconds(10);
constexpr std::uint32_t kReplyHeadBytesMax = 16'384;

/// The addresses of an endpoint's host.
class BackendAddresses final : public std::enable_shared_from_this<BackendAddresses> {
 public:
  using List = std::vector<tcp::endpoint>;
  using Then = std::function<void(const error_code&, const List&)>;

  BackendAddresses(asio::io_context& io, const EndpointUrl& url)
      : resolver_(io), host_(url.host), port_(url.port) {
    error_code error;
    const asio::ip::address address = asio::ip::make_address(host_, error);
    if (error) return;
    known_ = {{address, port_}};
    is_constant_ = true;
  }

  /// `then` may be called at once.
  void get(Then then) {
    const auto now = std::chrono::steady_clock::now();
    if (is_constant_ || (!known_.empty() && now - known_since_ < kAddressesAge)) return then({}, known_);
    waiting_.push_back(std::move(then));
    if (waiting_.size() > 1) return;
    resolver_.async_resolve(host_, std::to_string(port_), tcp::resolver::numeric_service,
                            [me = shared_from_this()](const error_code& error, const auto& found) {
                              me->on_resolved(error, found);
                            });
  }

 private:
  void on_resolved(const error_code& error, const tcp::resolver::results_type& found) {
    if (!error) {
      known_.clear();
      for (const auto& entry : found) known_.push_back(entry.endpoint());
      known_since_ = std::chrono::steady_clock::now();
    }
    const std::vector<Then> waiting = std::exchange(waiting_, {});
    for (const Then& then : waiting) then(error, known_);
  }

  tcp::resolver resolver_;
  const std::string host_;
  const std::uint16_t port_;
  bool is_constant_ = false;
  List known_;
  std::chrono::steady_clock::time_point known_since_;
  std::vector<Then> waiting_;
};

/// One connection, which lives as long as Asio works for it.
class BackendSocket final : public std::enable_shared_from_this<BackendSocket> {
 public:
  BackendSocket(asio::io_context& io, std::shared_ptr<BackendAddresses> addresses,
                std::size_t reply_bytes_max)
      : socket_(io), addresses_(std::move(addresses)), reply_bytes_max_(reply_bytes_max) {}

  void exchange(std::string request, std::function<void(BackendResult)> then) {
    request_ = std::move(request);
    then_ = std::move(then);
    if (socket_.is_open()) return write();
    addresses_->get([weak = weak_from_this()](const error_code& error, const BackendAddresses::List& list) {
      if (const auto me = weak.lock()) me->connect(error, list);
    });
  }

  [[nodiscard]] bool is_quiet() {
    char byte = 0;
    const ssize_t read = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return read < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  void close() {
    then_ = nullptr;
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  void connect(const error_code& error, const BackendAddresses::List& list) {
    if (!then_) return;
    if (error) return fail_later("cannot be found: " + error.message());
    try_next({list.begin(), list.end()}, asio::error::host_not_found);
  }

  void try_next(std::deque<tcp::endpoint> list, const error_code& last_error) {
    if (list.empty()) return fail_later("cannot be reached: " + last_error.message());
    const tcp::endpoint next = list.front();
    list.pop_front();
    error_code ignored;
    socket_.close(ignored);
    // A program that this process starts is not to inherit it.
    const int descriptor =
        ::socket(next.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (descriptor < 0) return fail_later("no descriptor is left for it");
    error_code error;
    socket_.assign(next.protocol(), descriptor, error);
    if (error) {
      ::close(descriptor);
      return fail_later("cannot be reached: " + error.message());
    }
    socket_.async_connect(next, [me = shared_from_this(), list = std::move(list)](const error_code& failure) {
      if (!me->then_) return;
      if (failure) return me->try_next(list, failure);
      error_code unimportant;
      me->socket_.set_option(tcp::no_delay(true), unimportant);
      me->write();
    });
  }

  void write() {
    asio::async_write(socket_, asio::buffer(request_),
                      [me = shared_from_this()](const error_code& error, std::size_t /*bytes*/) {
                        if (!me->then_) return;
                        // It may have answered, and closed, before it had read everything.
                        me->read(error);
                      });
  }

  void read(const error_code& not_written) {
    parser_.emplace();
    parser_->header_limit(kReplyHeadBytesMax);
    parser_->body_limit(reply_bytes_max_);
    beast::http::async_read(
        socket_, buffer_, *parser_,
        [me = shared_from_this(), not_written](const error_code& error, std::size_t /*bytes*/) {
          if (!me->then_) return;
          me->on_read(not_written, error);
        });
  }

  void on_read(const error_code& not_written, const error_code& error) {
    namespace http = beast::http;
    if (error == http::error::body_limit)
      return fail("answered with more than limits.proxy_reply_bytes (" + std::to_string(reply_bytes_max_) +
                  ")");
    if (error == http::error::end_of_stream || error == asio::error::connection_reset ||
        error == asio::error::broken_pipe) {
      const bool is_untouched = !parser_->got_some() && buffer_.size() == 0;
      return fail("closed the connection without an answer", is_untouched);
    }
    if (error == http::error::partial_message)
      return fail("closed the connection in the middle of its answer");
    if (error) return fail("did not answer in HTTP: " + error.message());
    const auto status = static_cast<int>(parser_->get().result_int());
    if (status == 101) return fail("wants to change the protocol");
    if (status < 200) return read(not_written);  // a word in between, such as 103: the answer follows it
    BackendResult result;
    result.is_answered = true;
    result.status = status;
    result.is_reusable = !not_written && parser_->keep_alive() && buffer_.size() == 0;
    result.body = std::move(parser_->get().body());
    parser_.reset();
    std::exchange(then_, nullptr)(std::move(result));
  }

  void fail(std::string problem, bool is_untouched = false) {
    BackendResult result;
    result.problem = std::move(problem);
    result.is_untouched = is_untouched;
    std::exchange(then_, nullptr)(std::move(result));
  }

  // Not before exchange() has returned.
  void fail_later(std::string problem) {
    asio::post(socket_.get_executor(), [me = shared_from_this(), problem = std::move(problem)] {
      if (me->then_) me->fail(problem);
    });
  }

  tcp::socket socket_;
  const std::shared_ptr<BackendAddresses> addresses_;
  const std::size_t reply_bytes_max_;
  beast::flat_buffer buffer_;
  std::optional<beast::http::response_parser<beast::http::string_body>> parser_;
  std::string request_;
  std::function<void(BackendResult)> then_;
};

class AsioLink final : public BackendLink {
 public:
  explicit AsioLink(std::shared_ptr<BackendSocket> socket) : socket_(std::move(socket)) {}
  AsioLink(const AsioLink&) = delete;
  AsioLink& operator=(const AsioLink&) = delete;
  ~AsioLink() override { socket_->close(); }
  void exchange(const std::string& request, std::function<void(BackendResult)> then) override {
    socket_->exchange(request, std::move(then));
  }
  [[nodiscard]] bool is_quiet() const override { return socket_->is_quiet(); }

 private:
  const std::shared_ptr<BackendSocket> socket_;
};

}  // namespace

MakeBackendLink make_asio_links(asio::io_context& io, const EndpointUrl& url, std::size_t reply_bytes_max) {
  auto addresses = std::make_shared<BackendAddresses>(io, url);
  return [&io, addresses, reply_bytes_max] {
    return std::make_unique<AsioLink>(std::make_shared<BackendSocket>(io, addresses, reply_bytes_max));
  };
}

}  // namespace carillon
