#include "store/redis/asio_redis_link.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <chrono>
#include <utility>

#include "store/redis/asio_redis_dial.hpp"

namespace carillon {

namespace asio = boost::asio;

namespace {

/// Dials, and dials again; asks the Sentinels before where there are some. (Boost.Redis could ask them as
/// well, but then nobody knows which name a certificate has to have, nor what a Sentinel has answered.)
class AsioRedisLink final : public RedisLink, private RedisDialEvents {
 public:
  AsioRedisLink(asio::io_context& io, const RedisEndpoint& endpoint, RandomSource& random,
                RedisLinkEvents& events)
      : io_(io), endpoint_(endpoint), random_(random), events_(events), pause_(io) {
    later([this] { begin(); });
  }
  ~AsioRedisLink() override { hang_up(); }
  AsioRedisLink(const AsioRedisLink&) = delete;
  AsioRedisLink& operator=(const AsioRedisLink&) = delete;

  void send(std::span<const RedisCommand> commands) override {
    if (up_) dial_->send(commands);
  }

  void renew(const std::string& reason) override {
    if (dial_ == nullptr) return;  // it pauses
    hang_up();
    rest();
    later([this, reason] { events_.on_link_down(reason); });
  }

 private:
  /// Not before the caller has returned, and never after the destruction.
  template <typename Task>
  void later(Task task) {
    asio::post(io_, [alive = std::weak_ptr<bool>(alive_), task = std::move(task)] {
      if (!alive.expired()) task();
    });
  }

  void begin() {
    sentinels_asked_ = 0;
    sentinels_said_.clear();
    if (endpoint_.sentinels.empty()) {
      dial_server(endpoint_.server);
    } else {
      ask_sentinel();
    }
  }

  void dial_server(const RedisAddress& address) {
    asks_ = false;
    dial({address, endpoint_.unix_socket, "redis", endpoint_.login, "store.url, store.user, store.password",
          endpoint_.database});
  }

  void ask_sentinel() {
    asks_ = true;
    dial({endpoint_.sentinels[sentinel_], "", "the Sentinel", endpoint_.sentinel_login,
          "store.sentinel_user, store.sentinel_password", 0});
  }

  void dial(RedisPeer peer) {
    dial_ = make_redis_dial(io_, endpoint_, std::move(peer), *this);
    dial_->start();
  }

  void hang_up() {
    up_ = false;
    if (dial_ != nullptr) std::exchange(dial_, nullptr)->hang_up();
  }

  void rest() {
    // Half of the pause to one and a half: not all gateways at the same moment.
    const Millis pause = std::max<Millis>(endpoint_.retry_pause_ms, 1);
    const auto jitter = static_cast<Millis>(random_.below(static_cast<std::uint64_t>(pause) + 1));
    pause_.expires_after(std::chrono::milliseconds(pause / 2 + jitter));
    pause_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](const boost::system::error_code& ec) {
      if (!ec && !alive.expired()) begin();
    });
  }

  void on_dial_up() override {
    if (asks_) {
      const RedisCommand question{"SENTINEL", "GET-MASTER-ADDR-BY-NAME", endpoint_.sentinel_primary};
      dial_->send({&question, 1});
      return;
    }
    up_ = true;
    events_.on_link_up();
  }

  void on_dial_reply(RedisReply&& reply) override {
    if (!asks_) {
      events_.on_reply(std::move(reply));
      return;
    }
    const std::string sentinel = dial_->name();
    hang_up();
    RedisAddress primary{reply[0].text, 0};
    const std::string& port = reply[1].text;
    std::from_chars(port.data(), port.data() + port.size(), primary.port);
    if (reply.is_error()) {
      next_sentinel(sentinel + " answered: " + reply.text);
    } else if (primary.host.empty() || primary.port == 0) {
      next_sentinel(sentinel + " knows no primary of that name");
    } else {
      dial_server(primary);  // the next time, the same Sentinel is asked first
    }
  }

  void on_dial_push(RedisReply&& push) override {
    if (!asks_) events_.on_push(std::move(push));
  }

  void on_dial_down(const std::string& reason) override {
    dial_ = nullptr;
    up_ = false;
    if (asks_) {
      next_sentinel(reason);
    } else {
      rest();
      events_.on_link_down(reason);
    }
  }

  void next_sentinel(const std::string& reason) {
    sentinels_said_ += (sentinels_said_.empty() ? "" : "; ") + reason;
    sentinel_ = (sentinel_ + 1) % endpoint_.sentinels.size();
    if (++sentinels_asked_ < endpoint_.sentinels.size()) {
      later([this] {
        if (dial_ == nullptr) ask_sentinel();
      });
      return;
    }
    rest();
    events_.on_link_down("no Sentinel tells the primary '" + endpoint_.sentinel_primary +
                         "': " + sentinels_said_);
  }

  asio::io_context& io_;
  const RedisEndpoint endpoint_;
  RandomSource& random_;
  RedisLinkEvents& events_;
  asio::steady_timer pause_;
  std::shared_ptr<RedisDial> dial_;  // none: it pauses, or is about to ask the next Sentinel
  bool asks_ = false;                // dial_ goes to a Sentinel
  bool up_ = false;
  std::size_t sentinel_ = 0;  // the one to ask
  std::size_t sentinels_asked_ = 0;
  std::string sentinels_said_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

std::unique_ptr<RedisLink> make_redis_link(asio::io_context& io, const RedisEndpoint& endpoint,
                                           RandomSource& random, RedisLinkEvents& events) {
  return std::make_unique<AsioRedisLink>(io, endpoint, random, events);
}

}  // namespace carillon
