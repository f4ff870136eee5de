#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "client/delta_start.hpp"
#include "client/filtered_path.hpp"
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
        has_presence(saved.has_presence) {
    set_expiry(saved.expiry);
    set_info(saved.info_json);
    if (saved.has_delta) start_delta(session);
    if (saved.has_base) go_on_with_delta(session);
    if (saved.filter.empty()) return;
    const bool is_json = session.codec_.encoding() == Encoding::json;
    if (auto read = is_json ? TagsFilter::from_json(saved.filter) : TagsFilter::from_protobuf(saved.filter))
      filter_by(session, std::move(*read), saved.filter);
  }

  /// What it is like, before it is opened.
  void accept(const SubscriptionGrant& grant, const SubscriptionTerms& terms) {
    has_notices = terms.has_notices;
    has_presence = terms.has_presence;
    is_recoverable = terms.is_recoverable;
    is_positioned = terms.is_positioned;
    cursor.set_mark(terms.gets_notices ? 1 : 0);
    set_info(grant.info_json);
    set_expiry(grant.expiry);
  }
  /// The client knows of it, or will: it has not been ended.
  [[nodiscard]] bool is_current() const { return state == State::asked || state == State::started; }
  /// `chan_info`; empty: none.
  [[nodiscard]] std::string_view info() const { return extras_ ? extras_->info_json : std::string_view(); }
  void set_info(const std::string& json) {
    if (!json.empty()) extras().info_json = json;
  }
  [[nodiscard]] Expiry expiry() const { return extras_ ? extras_->expiry : Expiry{}; }
  void set_expiry(const Expiry& expiry) {
    if (extras_ || expiry.at_s != 0) extras().expiry = expiry;
  }
  /// A hook is asked whether it goes on; the client does not renew it.
  void end_without_client() {
    if (extras_) extras_->expiry.is_renewed_by_client = false;
  }
  /// By tags; null: none.
  [[nodiscard]] const FilteredPath* filter() const { return extras_ ? extras_->filter.get() : nullptr; }

  /// Its client gets the publications that pass.
  void filter_by(CentrifugeClient& session, TagsFilter tags, std::string text) {
    extras().filter = std::make_unique<FilteredPath>(session, std::move(tags), std::move(text));
    cursor.lead_to(*extras().filter, cursor.mark());
  }

  // ---- deltas

  /// Its publications come as deltas, once there is one in full.
  void start_delta(CentrifugeClient& session) {
    delta_start = std::make_unique<DeltaStart>(session);
    cursor.lead_to(*delta_start, kFirstLayouts + (cursor.mark() & 1U));
  }
  /// Its client has got one, and knows the newest that the cursor has passed.
  void go_on_with_delta(CentrifugeClient& session) {
    cursor.lead_to(session, kDeltaLayouts + (cursor.mark() & 1U));
    delta_start.reset();
  }
  [[nodiscard]] bool takes_notices() const { return (cursor.mark() & 1U) != 0; }
  [[nodiscard]] bool has_delta() const { return cursor.mark() >= kDeltaLayouts; }
  [[nodiscard]] bool has_base() const { return has_delta() && !delta_start; }

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
  bool is_renewing = false;  // a hook has been asked whether it goes on
  bool wants_delta = false;
  std::unique_ptr<DeltaStart> delta_start;  // null: no deltas, or it is over

 private:
  /// What few subscriptions have, because there are many subscriptions.
  struct Extras {
    Expiry expiry;
    std::string info_json;
    std::unique_ptr<FilteredPath> filter;
  };
  Extras& extras() {
    if (!extras_) extras_ = std::make_unique<Extras>();
    return *extras_;
  }
  std::unique_ptr<Extras> extras_;  // null: none of them
};

}  // namespace carillon
