#include "store/redis/asio_redis_dial.hpp"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/verify_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/redis/connection.hpp>
#include <boost/redis/error.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "store/redis/redis_errors.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_password_file.hpp"
#include "store/redis/redis_reply_builder.hpp"

namespace carillon {

namespace asio = boost::asio;
namespace redis = boost::redis;
namespace resp3 = boost::redis::resp3;
using boost::system::error_code;

namespace {

/// These have no reply: each name is confirmed by a push.
bool is_subscription(std::string_view command) {
  return command == "SUBSCRIBE" || command == "PSUBSCRIBE" || command == "UNSUBSCRIBE" ||
         command == "PUNSUBSCRIBE";
}

/// The same for the channels of a cluster's slots. Boost.Redis does not know these.
bool is_slot_subscription(std::string_view command) {
  return command == "SSUBSCRIBE" || command == "SUNSUBSCRIBE";
}

RedisReply::Kind kind_of(resp3::type type) {
  switch (type) {
    case resp3::type::simple_error:
    case resp3::type::blob_error:
      return RedisReply::Kind::error;
    case resp3::type::null:
      return RedisReply::Kind::nil;
    case resp3::type::number:
    case resp3::type::boolean:
    case resp3::type::doublean:
    case resp3::type::big_number:
      return RedisReply::Kind::number;
    default:
      return resp3::is_aggregate(type) ? RedisReply::Kind::array : RedisReply::Kind::text;
  }
}

std::string_view text_of(const resp3::node_view& node) {
  if (node.data_type == resp3::type::boolean) return node.value == "t" ? "1" : "0";
  // "txt:" stands before such a text (the one of INFO).
  if (node.data_type == resp3::type::verbatim_string && node.value.size() >= 4) return node.value.substr(4);
  return node.value;
}

std::string name_of(const RedisPeer& peer) {
  if (!peer.unix_socket.empty()) return peer.role + " at " + peer.unix_socket;
  const bool is_v6 = peer.address.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? '[' + peer.address.host + ']' : peer.address.host;
  return peer.role + " at " + host + ':' + std::to_string(peer.address.port);
}

/// What may be shown of an error reply. A server that does not know HELLO answers with its arguments: one of
/// them is the password.
std::string shown(std::string_view error) { return std::string(error.substr(0, error.find(", with args"))); }

int host_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

/// Boost.Redis does not say which name it expects; OpenSSL asks here before it says the first word.
void name_the_host(const SSL* ssl, int where, int /*value*/) {
  if ((where & SSL_CB_HANDSHAKE_START) == 0) return;
  const void* host = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), host_index());
  if (host != nullptr) SSL_set_tlsext_host_name(const_cast<SSL*>(ssl), static_cast<const char*>(host));
}

class AsioRedisDial final : public RedisDial, public std::enable_shared_from_this<AsioRedisDial> {
 public:
  AsioRedisDial(asio::io_context& io, const RedisEndpoint& endpoint, RedisPeer peer, RedisDialEvents& events)
      : io_(io),
        endpoint_(endpoint),
        peer_(std::move(peer)),
        name_(name_of(peer_)),
        events_(&events),
        uses_tls_(endpoint.uses_tls && peer_.unix_socket.empty()),
        watch_(io) {}

  void start() override {
    asio::ssl::context tls(asio::ssl::context::tls_client);
    if (uses_tls_) {
      if (const std::string mistake = prepare(tls); !mistake.empty()) {
        asio::post(io_, [self = shared_from_this(), mistake] { self->give_up(mistake); });
        return;
      }
    }
    connection_.emplace(io_.get_executor(), std::move(tls), redis::logger(redis::logger::level::disabled));
    redis::config config;
    config.use_ssl = uses_tls_;
    config.addr = {peer_.address.host, std::to_string(peer_.address.port)};
    config.unix_socket = peer_.unix_socket;
    config.resolve_timeout = config.connect_timeout = config.ssl_handshake_timeout =
        std::chrono::milliseconds(endpoint_.connect_timeout_ms);
    config.reconnect_wait_interval = std::chrono::seconds(0);
    // Its PING ends the connection when Redis answers it with an error; MISCONF is one, and reads still work.
    config.health_check_interval = std::chrono::seconds(0);
    config.use_setup = true;  // none: what is said first is ours, for the sake of its answers
    config.setup.clear();
    config.read_buffer_append_size = kReadBytes;

    redis::any_adapter receiver = adapter();
    connection_->set_receive_response(receiver);  // which is copied
    introduce();
    connection_->async_run(config, [self = shared_from_this()](const error_code& ec) { self->on_end(ec); });
    receive();
    watch();
  }

  void send(std::span<const RedisCommand> commands) override {
    if (events_ == nullptr) return;
    const std::shared_ptr<redis::request> request = make_request(true);
    std::size_t bytes = 0;
    for (const RedisCommand& command : commands) bytes += command.bytes() + kBytesPerWord * command.size();
    request->reserve(bytes);
    bool has_open_slots = false;  // subscriptions behind which nothing has been sent that has a reply
    for (const RedisCommand& command : commands) {
      if (command.size() == 0) continue;
      if (is_slot_subscription(command[0])) {
        push_slot_subscription(*request, command);
        has_open_slots = true;
        continue;
      }
      if (std::exchange(has_open_slots, false)) fence(*request);
      push(*request, command);
      if (is_subscription(command[0])) {
        expect(Answer::confirmation, command.size() - 1);
      } else {
        expect(Answer::reply, 1);
      }
    }
    if (has_open_slots) fence(*request);
    // While a request without replies is still being written, Boost.Redis takes the next reply for a push,
    // and then keeps the one that it belongs to for ever.
    if (request->get_expected_responses() == 0) probe(*request);
    execute(request);
  }

  void hang_up() override {
    events_ = nullptr;
    watch_.cancel();
    if (!connection_) return;
    // Not within the parser, from which this may be called.
    asio::post(io_, [self = shared_from_this()] { self->connection_->cancel(); });
  }

  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  enum class Answer : std::uint8_t {
    setup,
    reply,
    probe,         ///< a reply that nobody asked for but we
    confirmation,  ///< a push
    fence          ///< the end of what subscriptions to channels of slots say: pushes, or errors
  };
  struct Expected {
    Answer answer;
    std::size_t count;
  };

  static constexpr std::size_t kReadBytes = 32UL << 10U;
  static constexpr std::string_view kFence = "carillon-fence";
  static constexpr std::size_t kBytesPerWord = 10;  // "$123\r\n…\r\n"

  static std::shared_ptr<redis::request> make_request(bool needs_connection) {
    redis::request::config config;
    config.cancel_if_not_connected = needs_connection;
    config.cancel_on_connection_lost = true;
    config.cancel_if_unresponded = true;
    config.hello_with_priority = false;
    return std::make_shared<redis::request>(config);
  }

  void push(redis::request& request, const RedisCommand& command) {
    if (command.size() == 1) {
      request.push(command[0]);
      return;
    }
    words_.clear();
    for (std::size_t index = 1; index < command.size(); ++index) words_.push_back(command[index]);
    // Never request.subscribe(): Boost.Redis would subscribe again by itself.
    request.push_range(command[0], words_.begin(), words_.end());
  }

  /// Nobody can tell an unasked push that ends a subscription from one that was asked for, and each of these
  /// commands may be refused because its slot has moved. So what they say ends with a text of ours.
  void fence(redis::request& request) {
    request.push("ECHO", kFence);
    expect(Answer::fence, 1);
  }

  /// For Boost.Redis this is a command that has no reply: one whose name is as long.
  void push_slot_subscription(redis::request& request, const RedisCommand& command) {
    const bool is_end = command[0] == "SUNSUBSCRIBE";
    const std::string_view stand_in = is_end ? "PUNSUBSCRIBE" : "PSUBSCRIBE";
    words_.clear();
    for (std::size_t index = 1; index < command.size(); ++index) words_.push_back(command[index]);
    const std::size_t before = request.payload().size();
    request.push_range(stand_in, words_.begin(), words_.end());
    const std::string_view payload = request.payload();
    const_cast<char*>(payload.data())[payload.find(stand_in, before)] = 'S';
  }

  void probe(redis::request& request) {
    request.push("PING");
    expect(Answer::probe, 1);
  }

  /// A certificate of `tls`, and whom it trusts. A sentence where that fails.
  std::string prepare(asio::ssl::context& tls) {
    error_code ec;
    SSL_CTX* context = tls.native_handle();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    if (endpoint_.ca_file.empty()) {
      tls.set_default_verify_paths(ec);
    } else if (tls.load_verify_file(endpoint_.ca_file, ec); ec) {
      return "store.ca_file " + endpoint_.ca_file + " cannot be used: " + ec.message();
    }
    // Nobody is there to type one.
    tls.set_password_callback([](std::size_t, asio::ssl::context::password_purpose) { return ""; }, ec);
    if (!endpoint_.certificate_file.empty()) {
      if (tls.use_certificate_chain_file(endpoint_.certificate_file, ec); ec)
        return "store.certificate_file " + endpoint_.certificate_file + " cannot be used: " + ec.message();
      const std::string& key = endpoint_.key_file.empty() ? endpoint_.certificate_file : endpoint_.key_file;
      if (tls.use_private_key_file(key, asio::ssl::context::pem, ec); ec)
        return "store.key_file " + key + " cannot be used: " + ec.message();
    }
    tls.set_verify_mode(asio::ssl::verify_peer, ec);
    tls.set_verify_callback(
        [this](bool is_right, asio::ssl::verify_context& verified) {
          if (!is_right)
            tls_mistake_ = X509_verify_cert_error_string(X509_STORE_CTX_get_error(verified.native_handle()));
          return is_right;
        },
        ec);
    const std::string& host = peer_.address.host;
    X509_VERIFY_PARAM* expected = SSL_CTX_get0_param(context);
    if (asio::ip::make_address(host, ec); !ec) {
      X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str());
    } else {
      X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      X509_VERIFY_PARAM_set1_host(expected, host.c_str(), host.size());
      SSL_CTX_set_ex_data(context, host_index(), const_cast<char*>(host.c_str()));
      SSL_CTX_set_info_callback(context, name_the_host);
    }
    return {};
  }

  /// The first that is said. It waits within Boost.Redis until there is a connection.
  void introduce() {
    const std::shared_ptr<redis::request> request = make_request(false);
    const RedisLogin& login = peer_.login;
    RedisCommand hello{"HELLO", "3"};
    const std::string password = current_password_of(login);
    if (!login.user.empty() || !password.empty())
      hello.add("AUTH").add(login.user.empty() ? "default" : login.user).add(password);
    hello.add("SETNAME").add("carillon");
    push(*request, hello);
    if (peer_.database != 0) request->push("SELECT", peer_.database);
    request->push("PING");  // a server that reads its file accepts everything else
    setup_left_ = request->get_expected_responses();
    expect(Answer::setup, setup_left_);
    execute(request);
  }

  void execute(const std::shared_ptr<redis::request>& request) {
    connection_->async_exec(*request, adapter(),
                            [self = shared_from_this(), request](const error_code&, std::size_t) {});
  }

  redis::any_adapter adapter() {
    return redis::any_adapter(
        redis::any_adapter::impl_t([this](redis::any_adapter::parse_event event, const resp3::node_view& node,
                                          error_code&) { parse(event, node); }));
  }

  /// Boost.Redis stops to read when nobody takes its word for it that pushes have come.
  void receive() {
    connection_->async_receive2([self = shared_from_this()](const error_code& ec) {
      if (!ec && !self->has_ended_) self->receive();
    });
  }

  /// What Boost.Redis parses, in the order in which it came: replies and pushes.
  void parse(redis::any_adapter::parse_event event, const resp3::node_view& node) {
    has_heard_ = true;
    if (events_ == nullptr) return;
    switch (event) {
      case redis::any_adapter::parse_event::init:
        is_push_ = false;
        break;
      case redis::any_adapter::parse_event::node: {
        if (node.depth == 0 && node.data_type == resp3::type::push) is_push_ = true;
        const std::size_t size = resp3::is_aggregate(node.data_type)
                                     ? node.aggregate_size * resp3::element_multiplicity(node.data_type)
                                     : 0;
        builder_.add(node.depth, kind_of(node.data_type), text_of(node), size);
        break;
      }
      case redis::any_adapter::parse_event::done:
        if (is_push_) {
          on_push(builder_.take());
        } else {
          on_reply(builder_.take());
        }
        break;
    }
  }

  void expect(Answer answer, std::size_t count) {
    if (count == 0) return;
    if (!expected_.empty() && expected_.back().answer == answer) {
      expected_.back().count += count;
    } else {
      expected_.push_back({answer, count});
    }
  }

  void has_come() {
    if (--expected_.front().count == 0) expected_.pop_front();
  }

  void on_push(RedisReply&& push) {
    const std::string& kind = push[0].text;
    const bool is_of_slot = kind == "ssubscribe" || kind == "sunsubscribe";
    if (kind.ends_with("subscribe") && !is_of_slot && !expected_.empty() &&
        expected_.front().answer == Answer::confirmation)
      has_come();
    events_->on_dial_push(std::move(push));
  }

  void on_reply(RedisReply&& reply) {
    if (expected_.empty()) {
      give_up(name_ + " says what nobody asked for: " + shown(reply.text));
      return;
    }
    const Answer answer = expected_.front().answer;
    if (answer == Answer::confirmation) {
      // Boost.Redis counts it as the next reply: from here on all would be one off.
      give_up(name_ + " refuses a subscription: " + shown(explain_redis_error(reply.text)));
      return;
    }
    if (answer == Answer::fence && reply.text != kFence) {
      // Of these errors none is the one of ECHO.
      if (reply.is_error() && (kind_of_redis_error(reply.text) == RedisErrorKind::moved ||
                               reply.text.starts_with("CLUSTERDOWN") || reply.text.starts_with("TRYAGAIN"))) {
        // It is no push, but belongs to what pushes tell. (Boost.Redis counts it as the next reply, and what
        // it has counted too much as a push: both come here.)
        RedisReply refusal{RedisReply::Kind::array, {}, {}};
        refusal.items.push_back({RedisReply::Kind::text, std::string(kSubscriptionRefused), {}});
        refusal.items.push_back(std::move(reply));
        events_->on_dial_push(std::move(refusal));
      } else {
        give_up(name_ + " refuses a subscription: " + shown(explain_redis_error(reply.text)));
      }
      return;
    }
    has_come();
    if (answer == Answer::fence) return;
    if (answer == Answer::probe) {
      is_probing_ = false;
    } else if (answer == Answer::setup) {
      on_setup(reply);
    } else {
      events_->on_dial_reply(std::move(reply));
    }
  }

  void on_setup(const RedisReply& reply) {
    --setup_left_;
    if (reply.is_error()) {
      const bool is_ping = setup_left_ == 0;
      // Other errors to PING (MISCONF, BUSY, NOPERM) are for those who ask for more.
      if (!is_ping || reply.text.starts_with("LOADING")) {
        give_up(refusal(reply.text));
        return;
      }
    }
    if (setup_left_ != 0) return;
    is_up_ = true;
    events_->on_dial_up();
  }

  [[nodiscard]] std::string refusal(const std::string& error) const {
    if (error.starts_with("WRONGPASS"))
      return name_ + " refused the user or password (" + peer_.login_options + ')';
    if (error.starts_with("NOAUTH")) return name_ + " asks for a password (" + peer_.login_options + ')';
    if (error.starts_with("LOADING")) return name_ + " still loads its data";
    if (error.starts_with("ERR unknown command"))
      return name_ + " does not know HELLO: Redis 7 or newer is needed";
    return name_ + " refused the link: " + shown(error);
  }

  void give_up(const std::string& reason) {
    RedisDialEvents* events = events_;
    if (events == nullptr) return;
    hang_up();
    events->on_dial_down(reason);
  }

  void on_end(const error_code& ec) {
    has_ended_ = true;
    // What has not been written, and the wait for pushes.
    connection_->cancel(redis::operation::exec);
    connection_->cancel(redis::operation::receive);
    // Whoever called this is a part of the connection, which must not be destroyed under it.
    asio::post(io_, [self = shared_from_this()] {});
    give_up(sentence_about(ec));
  }

  [[nodiscard]] std::string sentence_about(const error_code& ec) const {
    if (is_up_) {
      if (ec == asio::error::eof) return name_ + " has closed the link";
      return "the link to " + name_ + " is lost: " + ec.message();
    }
    static const std::string without_tls = "where it has no TLS, store.url begins with redis";
    const std::string start = "cannot connect to " + name_ + ": ";
    if (!tls_mistake_.empty())
      return start + "its certificate is not trusted: " + tls_mistake_ + " (store.ca_file)";
    if (ec == redis::error::resolve_timeout || ec == redis::error::connect_timeout ||
        ec == redis::error::ssl_handshake_timeout) {
      const bool is_handshake = ec == redis::error::ssl_handshake_timeout;
      const char* what = ec == redis::error::resolve_timeout ? "its name was not resolved"
                         : is_handshake                      ? "no end of the TLS handshake"
                                                             : "no answer";
      return start + what + " within " + std::to_string(endpoint_.connect_timeout_ms) +
             " ms (store.connect_timeout_ms" + (is_handshake ? "; " + without_tls : "") + ')';
    }
    if (ec == asio::error::eof || ec == asio::error::connection_reset)
      return start + "it closed the connection before it said a word" +
             (uses_tls_ ? "" : " (where it expects TLS, store.url begins with rediss)");
    if (uses_tls_ && ec.category() == asio::error::get_ssl_category())
      return start + "TLS failed: " + ec.message() + " (" + without_tls + ')';
    return start + ec.message();
  }

  /// Notices silence: a link without a byte for the timeout is given up. In its second half there is a
  /// question to be answered.
  void watch() {
    const std::chrono::milliseconds timeout(endpoint_.command_timeout_ms);
    watch_.expires_after(std::max(timeout / 8, std::chrono::milliseconds(1)));
    watch_.async_wait([self = shared_from_this()](const error_code& ec) {
      if (!ec && self->events_ != nullptr) self->look();
    });
  }

  void look() {
    const std::chrono::milliseconds timeout(endpoint_.command_timeout_ms);
    const auto now = std::chrono::steady_clock::now();
    const bool is_connected = connection_->get_usage().commands_sent != 0;
    if (has_heard_ || !is_connected) {
      has_heard_ = false;
      silent_since_ = now;
    } else if (now - silent_since_ >= timeout) {
      give_up(name_ + " was silent for " + std::to_string(endpoint_.command_timeout_ms) +
              " ms (store.command_timeout_ms)");
      return;
    } else if (is_up_ && !is_probing_ && now - silent_since_ >= timeout / 2) {
      is_probing_ = true;
      const std::shared_ptr<redis::request> request = make_request(true);
      probe(*request);
      execute(request);
    }
    watch();
  }

  asio::io_context& io_;
  const RedisEndpoint endpoint_;
  const RedisPeer peer_;
  const std::string name_;
  RedisDialEvents* events_;  // none: it is over
  const bool uses_tls_;
  std::string tls_mistake_;
  std::optional<redis::connection> connection_;
  bool has_ended_ = false;  // the connection; its objects may still have handlers under way
  bool is_up_ = false;
  std::size_t setup_left_ = 0;
  std::deque<Expected> expected_;  // of Redis, in its order
  RedisReplyBuilder builder_;
  bool is_push_ = false;
  std::vector<std::string_view> words_;

  asio::steady_timer watch_;
  std::chrono::steady_clock::time_point silent_since_ = std::chrono::steady_clock::now();
  bool has_heard_ = true;
  bool is_probing_ = false;
};

}  // namespace

std::shared_ptr<RedisDial> make_redis_dial(asio::io_context& io, const RedisEndpoint& endpoint,
                                           RedisPeer peer, RedisDialEvents& events) {
  return std::make_shared<AsioRedisDial>(io, endpoint, std::move(peer), events);
}

}  // namespace carillon
