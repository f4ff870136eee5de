#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hub/channel_rules.hpp"

namespace carillon {

/// `http`: none of them, as the server API, a page, or a request that cannot be read.
enum class Transport : std::uint8_t { websocket, sse, poll, http };
enum class Operation : std::uint8_t { connect, subscribe, publish, presence, history };

[[nodiscard]] std::string_view name_of(Transport transport);
[[nodiscard]] std::string_view name_of(Operation operation);

/// Who a client is. An empty user is anonymous.
struct Identity {
  std::string user;
  std::string info_json;  ///< for presence and publications; empty: none
};

/// Who is it (connect), or may they (everything else)? Views live for the call.
struct Question {
  Operation operation = Operation::connect;
  Transport transport = Transport::websocket;
  std::string_view client;   ///< connection id; empty at connect and for the plain transports
  std::string_view user;     ///< who it is, by the answer to its connect; empty at connect
  std::string_view channel;  ///< not at connect
  std::string_view data;     ///< connect, publish
  std::string_view token;    ///< connect
  std::shared_ptr<const std::string> own_data;  ///< publish: `data` once more, for who needs it for longer
  /// Connect: the query parameter `user`. Only a claim, which nobody has proved: an insecure server believes
  /// it.
  std::string_view claimed_user;
};

/// The answer. Denied: `code` and `reason` say how, 0 means the usual way.
struct Verdict {
  /// Nobody could decide: the client is told to ask again. `reason` is for the log.
  [[nodiscard]] static Verdict undecided(std::string reason) {
    Verdict verdict;
    verdict.is_undecided = true;
    verdict.reason = std::move(reason);
    return verdict;
  }

  bool is_allowed = false;
  bool is_undecided = false;        ///< neither allowed nor denied
  Identity identity;                ///< connect
  std::optional<std::string> data;  ///< publish: goes out in place of the client's
  std::uint32_t code = 0;           ///< 100 to 1999: error of the reply; 3000 to 4999: disconnect
  std::string reason;
};

/// The one seam through which every transport passes. Thread-safe.
class Access {
 public:
  virtual ~Access() = default;
  /// Nothing: the answer takes time, ask().
  [[nodiscard]] virtual std::optional<Verdict> answer(const Question& question) const = 0;
  /// `then` is called once, from any thread, within a deadline.
  virtual void ask(const Question& question, std::function<void(Verdict)> then) = 0;
};

/// Access by the channel rules of the config; in insecure mode everybody may do everything. Knows every
/// answer at once.
class RulesAccess final : public Access {
 public:
  RulesAccess(const ChannelRules& rules, bool is_insecure) : rules_(rules), is_insecure_(is_insecure) {}
  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override { then(*answer(question)); }

 private:
  const ChannelRules& rules_;
  const bool is_insecure_;
};

}  // namespace carillon
