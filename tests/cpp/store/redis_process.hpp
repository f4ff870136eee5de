#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "store/redis/redis_options.hpp"

namespace carillon {

/// A redis-server of a test, in a temporary folder of its own, on a Unix socket and on a free port of
/// 127.0.0.1.
class RedisProcess {
 public:
  struct Settings {
    std::vector<std::string> options;  ///< of the command line: {"--appendonly", "yes"}
    std::vector<std::string> lines;    ///< of the configuration file
    bool is_sentinel = false;          ///< it has no Unix socket
    bool uses_tls = false;             ///< the port speaks TLS; certificates are in `lines`
  };
  [[nodiscard]] static std::uint16_t free_port();
  /// Empty: it can run here. Otherwise why not: for GTEST_SKIP().
  [[nodiscard]] static std::string missing();

  RedisProcess() : RedisProcess(Settings()) {}
  /// Waits until it answers; throws std::runtime_error with what it has said when it does not.
  explicit RedisProcess(Settings settings);
  ~RedisProcess();
  RedisProcess(const RedisProcess&) = delete;
  RedisProcess& operator=(const RedisProcess&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string unix_socket() const { return folder_ / "redis.sock"; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  /// By its Unix socket, with short timeouts.
  [[nodiscard]] RedisEndpoint endpoint() const;
  /// By its port.
  [[nodiscard]] RedisEndpoint tcp_endpoint() const;

  /// kill -9.
  void kill();
  /// SIGSTOP: it neither answers nor closes.
  void stop();
  /// SIGCONT.
  void cont();
  /// With its data and on its port, after kill(). It ends with the thread that starts it.
  void start();
  /// What redis-cli prints, by its Unix socket (a Sentinel: by its port).
  std::string cli(const std::string& words) const;

 private:
  [[nodiscard]] bool answers() const;

  Settings settings_;
  std::filesystem::path folder_;
  std::uint16_t port_ = 0;
  ::pid_t pid_ = -1;
};

}  // namespace carillon
