// The yardstick for gateways that share a Redis: the least that takes a publication from a socket of one
// process to a socket of another by way of our script. One thread, one epoll, a connection for scripts and
// one for announcements. No JSON parser, no history, no order, no holes, no limits: a real gateway must not
// do that.
#include "bare_chain.hpp"

#include <fstream>
#include <string>
#include <vector>

#include "../bare_loop/options.hpp"

namespace {

constexpr const char* kUsage =
    "usage: bare_chain --redis PORT --announcements NAME --words FILE [--port 0]\n"
    "  --announcements  the Redis channel to subscribe to\n"
    "  --words          what appends one publication: a word of the command a line; %number and %data are\n"
    "                   filled in\n"
    "  serves 127.0.0.1 until SIGTERM or SIGINT; port 0 picks one and prints it\n";

}  // namespace

int main(int argc, char** argv) {
  using namespace carillon::bench;
  const Options options(argc, argv, {"redis", "announcements", "words", "port"}, {}, kUsage);
  struct sigaction action{};
  action.sa_handler = [](int) { stop_requested = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::vector<std::string> words;
  std::ifstream file(options.text("words"));
  for (std::string line; std::getline(file, line);) words.push_back(line);
  if (words.empty()) options.fail("--words " + options.text("words"));
  BareChain chain(options.number<std::uint16_t>("port", 0), options.number<std::uint16_t>("redis", 0),
                  std::move(words), options.text("announcements"));
  chain.run();
  return 0;
}
