#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "server/config.hpp"
#include "session/http_message.hpp"

namespace carillon {

struct ConfigOption;

/// An option that differs between two configurations. The values are JSON texts, and a secret is never one of
/// them: "(set)", "(changed)" or "" stands for it.
struct ConfigChange {
  std::string option;  ///< its path; of an option of channels: `channel.namespaces[chat].history_size`
  std::string before;
  std::string after;
};

/// What differs between the configuration that runs and another one.
struct ConfigDifference {
  std::vector<ConfigChange> changes;
  std::vector<const ConfigOption*> options;  ///< those outside the tables of channels
  bool has_other_channels = false;
  /// A sentence for each change that needs a new process: the option, both values and the remedy.
  std::vector<std::string> refusals;
};
[[nodiscard]] ConfigDifference difference_of(const ServerConfig& before, const ServerConfig& after);
/// Does a reload change the option, at least in one direction? All others are read at the start alone.
[[nodiscard]] bool is_reloaded(const ConfigOption& option);
/// JSON list of {"option","old","new"}.
[[nodiscard]] std::string to_json(const std::vector<ConfigChange>& changes);

/// A configuration cannot be put in place of the one that runs; nothing has changed. what() has the text of
/// each reason in a line.
class ReloadRefused : public std::runtime_error {
 public:
  explicit ReloadRefused(const std::vector<std::string>& reasons);
};

/// Takes requests for a reload to the application, which reads the configuration. Thread-safe, never blocks.
/// False: it is closed.
class ReloadQueue {
 public:
  virtual ~ReloadQueue() = default;
  virtual bool push_reload(std::uint64_t request) = 0;
};

/// The reload that a client of the HTTP API has asked for, one at a time. Thread-safe, except set_queue().
class ReloadRequests {
 public:
  using Respond = HttpHandler::Respond;

  void set_queue(std::shared_ptr<ReloadQueue> queue) { queue_ = std::move(queue); }
  void begin(Respond respond);
  /// The application's answer. False: nobody waits for it.
  bool succeed(std::uint64_t request, std::string_view changes_json);
  /// `status`: 400 for mistakes of the configuration, 409 where it cannot be put in place now, else 503.
  bool fail(std::uint64_t request, int status, const std::vector<std::string>& reasons);
  /// Forgets the one under way, without an answer.
  void clear();

 private:
  [[nodiscard]] Respond take(std::uint64_t request);

  std::shared_ptr<ReloadQueue> queue_;
  std::mutex mutex_;
  std::uint64_t last_ = 0;  // guarded by the mutex, as is the next one
  Respond respond_;         // of the request `last_`; empty: none is under way
};

}  // namespace carillon
