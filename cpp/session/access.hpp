#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/channel_rules.hpp"

namespace carillon {

/// `http`: none of the others: the HTTP API, a page, or a request that cannot be read. `http_stream` and
/// `emulated_sse`: a Centrifuge client over HTTP, whose commands come by requests to /emulation. `uni_…`: a
/// unidirectional client, which says nothing but its connect.
enum class Transport : std::uint8_t {
  websocket,
  sse,
  poll,
  http,
  http_stream,
  emulated_sse,
  uni_websocket,
  uni_sse,
  uni_http_stream
};
inline constexpr std::size_t kTransports = 9;
enum class Operation : std::uint8_t {
  connect,
  subscribe,
  publish,
  presence,
  history,
  refresh,
  sub_refresh,
  rpc,
  disconnect  ///< no question: a notice that a client has gone
};
inline constexpr std::size_t kOperations = 9;

/// Some transports.
class TransportSet {
 public:
  constexpr void add(Transport transport) { bits_ |= 1U << static_cast<unsigned>(transport); }
  [[nodiscard]] constexpr bool contains(Transport transport) const {
    return (bits_ >> static_cast<unsigned>(transport) & 1U) != 0;
  }

 private:
  std::uint32_t bits_ = 0;
};

[[nodiscard]] std::string_view name_of(Transport transport);
[[nodiscard]] std::string_view name_of(Operation operation);

/// When a connection or a subscription ends, unless it is renewed before.
struct Expiry {
  std::int64_t at_s = 0;              ///< seconds since 1970-01-01 UTC; 0: never
  bool is_renewed_by_client = false;  ///< the client sends a newer token, and has some time more to do so
};

/// What one subscription has in place of its channel's options (protocol.md section 13). Nothing: as the
/// channel's options say.
struct SubscriptionOverrides {
  std::optional<bool> presence = {};
  std::optional<bool> join_leave = {};
  std::optional<bool> force_push_join_leave = {};
  std::optional<bool> force_recovery = {};
  std::optional<bool> force_positioning = {};
};

/// A subscription that is granted: by a token, a hook or the HTTP API.
struct SubscriptionGrant {
  std::string channel;
  std::string info_json;  ///< `chan_info`: shown to others beside the client's own; empty: none
  std::string data_json;  ///< for the client; empty: none
  Expiry expiry;
  SubscriptionOverrides overrides;
};

/// The identity of a client. An empty user is anonymous.
struct Identity {
  std::string user;
  std::string info_json;  ///< for presence and publications; empty: none
  std::string data_json;  ///< for the client, with the answer to its connect; empty: none
  Expiry expiry;
  std::vector<SubscriptionGrant> subscriptions;  ///< that the server makes (protocol.md section 15)
  bool names_subscriptions = false;              ///< of a hook: also an empty list is its word
  bool has_only_these = false;       ///< plain transports: the token of a subscription allows nothing else
  std::uint64_t token_channels = 0;  ///< tells the channels that a token grants apart from others; 0: none
};

/// The HTTP request that a client came with (upgrade, stream or poll), for hooks to decide by.
struct ClientRequest {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  Fields headers;       ///< names in lower case
  Fields query;         ///< decoded, in order
  std::string address;  ///< IP address of the peer

  /// Of `Authorization: Bearer`, else of the query's `token`, else of the cookie of that name; empty: none. A
  /// cookie counts only where a browser does not say that another site has made the request.
  [[nodiscard]] std::string_view token(std::string_view cookie_name) const;
  /// Value of the header with that name in lower case, or empty.
  [[nodiscard]] std::string_view header(std::string_view name) const;
  /// Value of the cookie with that name (RFC 6265 section 4.2), or empty.
  [[nodiscard]] std::string_view cookie(std::string_view name) const;
  /// Value of the query's first parameter with that name, or empty.
  [[nodiscard]] std::string_view parameter(std::string_view name) const;
  [[nodiscard]] std::size_t bytes() const;
};

/// How a publication of a client is published, as its hook has decided.
struct PublishTerms {
  bool skips_history = false;
  bool has_delta = false;
  std::string idempotency_key;
  std::vector<std::pair<std::string, std::string>> tags;

  [[nodiscard]] bool is_usual() const {
    return !skips_history && !has_delta && idempotency_key.empty() && tags.empty();
  }
};

/// A question about a client: its identity (connect), or a permission (everything else). Views live for the
/// call.
struct Question {
  Operation operation = Operation::connect;
  Transport transport = Transport::websocket;
  bool is_protobuf = false;  ///< the client's encoding; else JSON
  std::string_view client;   ///< connection id, at connect the coming one; empty for the plain transports
  std::string_view user;     ///< by the answer to its connect; empty at connect
  std::string_view channel;  ///< of the subscription or the publication; else empty
  std::string_view method;   ///< rpc
  std::string_view data;     ///< JSON text that the client sent along, or empty
  /// At connect and refresh that of the connection, at subscribe and sub_refresh that of the channel. A
  /// refresh without a token is the server's own question: does what has expired go on?
  std::string_view token;
  std::shared_ptr<const std::string> own_data;  ///< publish, rpc: `data` once more, for asynchronous answers
  /// Connect: the query parameter `user`. Nobody has proved it; only an insecure server believes it.
  std::string_view claimed_user;
  std::shared_ptr<const ClientRequest> request;  ///< null where no hook wants it, see Access::has_hook()
  bool is_subscribed = false;        ///< publish, presence, history: the client is subscribed to the channel
  const Identity* proved = nullptr;  ///< connect: a token has proved it; lives for the call
  std::uint16_t code = 0;            ///< disconnect: how it has ended
  std::string_view reason;           ///< disconnect

  /// What the patterns of hooks are compared with; empty: the question is about a client as a whole.
  [[nodiscard]] std::string_view subject() const { return operation == Operation::rpc ? method : channel; }
};

/// The answer. Denied: `code` and `reason` go to the client; 0 and empty stand for the usual ones.
struct Verdict {
  /// No decision: the client is asked to try again. `reason` is for the log.
  [[nodiscard]] static Verdict undecided(std::string reason) {
    Verdict verdict;
    verdict.is_undecided = true;
    verdict.reason = std::move(reason);
    return verdict;
  }

  bool is_allowed = false;
  bool is_undecided = false;                    ///< neither allowed nor denied
  Identity identity;                            ///< connect, refresh
  SubscriptionGrant subscription;               ///< subscribe, sub_refresh
  std::optional<std::string> data;              ///< publish: replaces the client's payload. rpc: the reply
  bool is_data_binary = false;                  ///< it is not JSON text
  bool is_temporary = false;                    ///< denied: the client may try again
  std::shared_ptr<const PublishTerms> publish;  ///< null: as usual
  std::uint32_t code = 0;                       ///< 100 to 1999: error of the reply; 3000 to 4999: disconnect
  std::string reason;
  std::string_view remark;  ///< denied: for the log alone; a literal
  /// Denied by the rules: the option that would allow it (or the two of them), for the log.
  std::string_view option;
};

/// Decides access for every transport. Thread-safe.
class Access {
 public:
  virtual ~Access() = default;
  /// Nothing: the answer takes time, so call ask().
  [[nodiscard]] virtual std::optional<Verdict> answer(const Question& question) const = 0;
  /// `then` is called once, from any thread, within a deadline.
  virtual void ask(const Question& question, std::function<void(Verdict)> then) = 0;
  /// Does a hook decide on any such question?
  [[nodiscard]] virtual bool has_hook(Operation /*operation*/) const { return false; }
  /// Does a hook decide on this one? `subject`: a channel, or the method of an rpc.
  [[nodiscard]] virtual bool asks_hook(Operation operation, std::string_view /*subject*/) const {
    return has_hook(operation);
  }
  /// Does a hook want to know the HTTP request of the client at such a question? Then sessions keep it.
  [[nodiscard]] virtual bool wants_request(Operation operation) const { return has_hook(operation); }
  /// Are there keys that verify tokens?
  [[nodiscard]] virtual bool takes_tokens() const { return false; }
  /// Are keys of tokens still to come, because the endpoint that has them has not answered yet?
  [[nodiscard]] virtual bool awaits_keys() const { return false; }
};

/// Access by the channel rules of the configuration (protocol.md section 14). In insecure mode any client may
/// do anything, but a channel whose name begins with `$` needs a token there as well. Knows every answer at
/// once.
class RulesAccess final : public Access {
 public:
  RulesAccess(const ChannelRules& rules, bool is_insecure) : rules_(rules), is_insecure_(is_insecure) {}
  /// While nothing is asked.
  void reload(bool is_insecure) { is_insecure_ = is_insecure; }
  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override { then(*answer(question)); }

 private:
  [[nodiscard]] std::optional<Verdict> decide(const Question& question, const ChannelOptions& options) const;

  const ChannelRules& rules_;
  bool is_insecure_;
};

}  // namespace carillon
