// The yardstick: the least that a server can do to ring channels out to WebSocket subscribers, SSE streams
// and pollers. One thread, one epoll, no JSON parser, no history but for polls, no timers, no limits, no
// security. It speaks exactly as much as cpp/load says, and sends the bytes that Carillon sends for the same
// publication. A subscriber whose socket does not take a whole block is dropped and counted: a real server
// must not do that.
#include "bare_loop.hpp"
#include "options.hpp"
#include "senders.hpp"

namespace {

constexpr const char* kUsage =
    "usage: bare_loop [--port 0] [--gather] [--io-uring]\n"
    "  --gather    one send per subscriber for up to 64 messages that came in one turn\n"
    "  --io-uring  sends are submitted in batches of up to 1,024\n"
    "  serves 127.0.0.1 until SIGTERM or SIGINT; port 0 picks one and prints it\n";

}  // namespace

int main(int argc, char** argv) {
  using namespace carillon::bench;
  const Options options(argc, argv, {"port"}, {"gather", "io-uring"}, kUsage);
  raise_descriptor_limit();
  struct sigaction action{};
  action.sa_handler = [](int) { stop_requested = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  const auto port = options.number<std::uint16_t>("port", 0);
  if (options.has("io-uring")) {
    BareLoop<RingSender>(port, options.has("gather")).run();
  } else {
    BareLoop<DirectSender>(port, options.has("gather")).run();
  }
  return 0;
}
