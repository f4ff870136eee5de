// The backends as the thread of one shard asks them, over Asio.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "proxy/asio_links.hpp"
#include "proxy/proxy_access.hpp"

namespace carillon {

namespace {
namespace asio = boost::asio;
}  // namespace

class ProxyAccess::OfThread final {
 public:
  OfThread(ProxyAccess& access, asio::io_context& io, std::function<void()> wake)
      : clock_(access.parts_.clock), wake_(std::move(wake)), timer_(io) {
    for (std::size_t i = 0; i < kOperations; ++i) {
      const auto operation = static_cast<Operation>(i);
      if (!access.is_used(operation)) continue;
      const auto bytes_max = static_cast<std::size_t>(access.parts_.limits.proxy_reply_bytes);
      backends_.at(i) = access.make_backend(
          operation, make_asio_links(io, access.urls_.at(i).value(), bytes_max), [this] { on_change(); });
    }
    bind_to_this_thread(&backends_);
  }
  OfThread(const OfThread&) = delete;
  OfThread& operator=(const OfThread&) = delete;
  /// Its thread runs no more.
  ~OfThread() = default;

 private:
  void on_change() {
    wake_();
    std::optional<Millis> due;
    for (const auto& backend : backends_) {
      if (!backend) continue;
      const std::optional<Millis> its = backend->due_ms();
      if (its && (!due || *its < *due)) due = its;
    }
    if (due == due_ms_) return;
    due_ms_ = due;
    timer_.cancel();
    if (!due) return;
    timer_.expires_after(std::chrono::milliseconds(std::max<Millis>(0, *due - clock_.now_ms())));
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      due_ms_.reset();
      for (const auto& backend : backends_)
        if (backend) backend->on_time(clock_.now_ms());
    });
  }

  const Clock& clock_;
  const std::function<void()> wake_;
  asio::steady_timer timer_;
  std::optional<Millis> due_ms_;  // when the timer expires
  Backends backends_;
};

std::shared_ptr<void> ProxyAccess::attach(asio::io_context& io, std::function<void()> wake) {
  return std::make_shared<OfThread>(*this, io, std::move(wake));
}

}  // namespace carillon
