#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carillon {

/// A client of all three transports over one blocking socket on loopback, just enough for tests with threads:
/// it reads offsets. Reads wait up to 50 ms. After a failure problem() says what was wrong, and everything
/// returns nothing.
class BlockingClient {
 public:
  explicit BlockingClient(std::uint16_t port);
  ~BlockingClient();
  BlockingClient(const BlockingClient&) = delete;
  BlockingClient& operator=(const BlockingClient&) = delete;

  void open_sse(std::string_view channel, std::string_view since);
  std::vector<std::uint64_t> read_sse();

  /// One request on the kept connection.
  std::vector<std::uint64_t> poll(std::string_view channel, std::string_view since);

  /// The answer to a method of the HTTP API, on the kept connection.
  std::string call(std::string_view method, std::string_view body);

  void open_websocket(std::string_view channel, std::string_view epoch, std::uint64_t offset);
  std::vector<std::uint64_t> read_websocket();

  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  void send(std::string_view bytes);
  bool receive();
  bool receive_head();
  std::string receive_body();
  void fail(std::string problem);
  /// The numbers behind each `"offset":` that follows `marker` in `text`.
  static std::vector<std::uint64_t> offsets_in(std::string_view text, std::string_view marker);

  int socket_ = -1;
  std::string input_;
  std::string problem_;
};

}  // namespace carillon
