#pragma once

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
  /// The cursor's mark: does it take join and leave?
  Subscription(CentrifugeClient& session, std::string_view name, const SubscriptionTerms& terms,
               Lanes::Ticket its_ticket)
      : channel(name),
        cursor(session, terms.gets_notices ? 1 : 0),
        ticket(its_ticket),
        has_notices(terms.has_notices),
        has_presence(terms.has_presence),
        is_recoverable(terms.is_recoverable),
        is_positioned(terms.is_positioned) {}
  Subscription(CentrifugeClient& session, const ClientState::Subscription& saved)
      : channel(saved.channel),
        cursor(session, saved.wants_notices ? 1 : 0),
        state(saved.is_ending ? State::ending : State::started),
        has_notices(saved.has_notices),
        has_presence(saved.has_presence) {}
  const std::string channel;
  Cursor cursor;
  const Lanes::Ticket ticket = 0;  // of the answer that it waits for
  State state = State::asked;
  const bool has_notices;  // its coming and going is announced
  const bool has_presence;
  // For the reply to its subscribe.
  const bool is_recoverable = false;
  const bool is_positioned = false;
};

}  // namespace carillon
