#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "client/centrifuge_client.hpp"
#include "session/subscription_terms.hpp"

namespace carillon {

/// One subscription of a client: a cursor, and what its end has to undo.
struct CentrifugeClient::Subscription {
  enum class State : std::uint8_t {
    asked,      // its hook or the store has still to answer
    cancelled,  // the same, and the client has unsubscribed
    started,    // its reply has been written
    ending      // once what is under way has been sent
  };
  Subscription(CentrifugeClient& session, std::string_view name, Lanes::Ticket its_ticket, bool by_server)
      : channel(name), cursor(session), ticket(its_ticket), is_by_server(by_server) {}
  Subscription(CentrifugeClient& session, const ClientState::Subscription& saved)
      : channel(saved.channel),
        cursor(session, saved.wants_notices ? 1 : 0),
        state(saved.is_ending ? State::ending : State::started),
        is_by_server(saved.is_by_server),
        has_notices(saved.has_notices),
        has_presence(saved.has_presence),
        expiry(saved.expiry) {
    set_info(saved.info_json);
  }

  /// What it is like, before it is opened.
  void accept(const SubscriptionGrant& grant, const SubscriptionTerms& terms) {
    has_notices = terms.has_notices;
    has_presence = terms.has_presence;
    is_recoverable = terms.is_recoverable;
    is_positioned = terms.is_positioned;
    cursor.set_mark(terms.gets_notices ? 1 : 0);
    set_info(grant.info_json);
    expiry = grant.expiry;
  }
  [[nodiscard]] std::string_view info() const { return info_json ? *info_json : std::string_view(); }

  const std::string channel;
  Cursor cursor;                   // its mark: does it take join and leave?
  const Lanes::Ticket ticket = 0;  // of the answer that it waits for
  State state = State::asked;
  const bool is_by_server = false;  // the client has not asked for it
  bool is_unwanted = false;         // the server has ended it before it has begun
  bool has_notices = false;         // its coming and going is announced
  bool has_presence = false;
  // For the reply to its subscribe.
  bool is_recoverable = false;
  bool is_positioned = false;
  Expiry expiry;
  std::unique_ptr<const std::string> info_json;  // `chan_info`; null: none

 private:
  void set_info(const std::string& json) {
    if (!json.empty()) info_json = std::make_unique<const std::string>(json);
  }
};

}  // namespace carillon
