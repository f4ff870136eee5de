#include "server/fleet_connections.hpp"

#include <nlohmann/json.hpp>
#include <utility>

namespace carillon {

namespace {

using nlohmann::json;

json json_of(const ClientFilter& who) {
  return {{"user", who.user}, {"client", who.client}, {"session", who.session}, {"whitelist", who.whitelist}};
}

/// The texts are UTF-8: all that lets them in sees to it. Whatever else there is, it throws nothing.
std::string text_of(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

ClientFilter filter_of(const json& value) {
  return {value.value("user", ""), value.value("client", ""), value.value("session", ""),
          value.value("whitelist", std::vector<std::string>())};
}

json json_of(std::optional<bool> flag) { return flag ? json(*flag) : json(nullptr); }
std::optional<bool> flag_of(const json& value, const char* name) {
  const auto found = value.find(name);
  return found != value.end() && found->is_boolean() ? std::optional(found->get<bool>()) : std::nullopt;
}

json json_of(const SubscriptionGrant& grant) {
  return {{"channel", grant.channel},
          {"info", grant.info_json},
          {"data", grant.data_json},
          {"expire_at", grant.expiry.at_s},
          {"presence", json_of(grant.overrides.presence)},
          {"join_leave", json_of(grant.overrides.join_leave)},
          {"force_push_join_leave", json_of(grant.overrides.force_push_join_leave)},
          {"force_recovery", json_of(grant.overrides.force_recovery)},
          {"force_positioning", json_of(grant.overrides.force_positioning)}};
}

SubscriptionGrant grant_of(const json& value) {
  SubscriptionGrant grant;
  grant.channel = value.value("channel", "");
  grant.info_json = value.value("info", "");
  grant.data_json = value.value("data", "");
  grant.expiry.at_s = value.value("expire_at", std::int64_t{0});
  grant.overrides = {flag_of(value, "presence"), flag_of(value, "join_leave"),
                     flag_of(value, "force_push_join_leave"), flag_of(value, "force_recovery"),
                     flag_of(value, "force_positioning")};
  return grant;
}

json json_of(const Since& since) {
  return {{"epoch", since.epoch.text()}, {"any_epoch", since.is_any_epoch},
          {"offset", since.offset},      {"kind", static_cast<int>(since.kind)},
          {"count", since.count},        {"takes_what_is_kept", since.takes_what_is_kept}};
}

std::optional<Since> since_of(const json& value) {
  if (!value.is_object()) return std::nullopt;
  Since since = Since::from(value.value("epoch", ""), value.value("offset", Offset{0}));
  since.is_any_epoch = value.value("any_epoch", false);
  const auto kind = value.value("kind", std::uint64_t{0});
  if (kind > static_cast<std::uint64_t>(Since::Kind::cache)) return std::nullopt;  // of a later version
  since.kind = static_cast<Since::Kind>(kind);
  since.count = value.value("count", std::uint64_t{0});
  since.takes_what_is_kept = value.value("takes_what_is_kept", false);
  return since;
}

std::string answer_of(const Connections::Subscribed& result) {
  json answer{{"connections", result.connections}};
  if (result.refusal) answer["refusal"] = static_cast<int>(*result.refusal);
  return answer.dump();
}

/// What is no answer adds nothing.
void add(Connections::Subscribed& sum, const std::string& answer) {
  const json value = json::parse(answer, nullptr, false);
  if (!value.is_object()) return;
  const auto number = [&](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_number_unsigned() ? std::optional(found->get<std::uint64_t>())
                                                               : std::nullopt;
  };
  sum.connections += static_cast<std::size_t>(number("connections").value_or(0));
  const auto refusal = number("refusal");
  if (!refusal) return;
  const bool is_known = *refusal <= static_cast<std::uint64_t>(SubscribeAnswer::not_applicable);
  sum.refusal = is_known ? static_cast<SubscribeAnswer>(*refusal) : SubscribeAnswer::failed;
}

}  // namespace

FleetConnections::FleetConnections(Connections& here, Fleet& fleet) : here_(here), fleet_(fleet) {
  const auto set = [this](std::string topic, std::function<void(const json&, Fleet::Answer)> act) {
    fleet_.set_order(std::move(topic),
                     [act = std::move(act)](std::string_view question, Fleet::Answer answer) {
                       const json value = json::parse(question, nullptr, false);
                       if (!value.is_object()) return answer("");
                       act(value, std::move(answer));
                     });
  };
  const auto counted = [](Fleet::Answer answer) {
    return [answer = std::move(answer)](std::size_t connections) { answer(answer_of({connections, {}})); };
  };
  set("disconnect", [this, counted](const json& value, Fleet::Answer answer) {
    here_.disconnect(filter_of(value), value.value("code", std::uint16_t{3000}), value.value("reason", ""),
                     counted(std::move(answer)));
  });
  set("refresh", [this, counted](const json& value, Fleet::Answer answer) {
    here_.refresh(filter_of(value), {value.value("expire_at", std::int64_t{0}), value.value("info", "")},
                  counted(std::move(answer)));
  });
  set("unsubscribe", [this, counted](const json& value, Fleet::Answer answer) {
    here_.unsubscribe(filter_of(value), value.value("channel", ""), counted(std::move(answer)));
  });
  set("subscribe", [this](const json& value, Fleet::Answer answer) {
    here_.subscribe(filter_of(value), grant_of(value.value("grant", json::object())),
                    since_of(value.value("since", json())),
                    [answer = std::move(answer)](const Subscribed& result) { answer(answer_of(result)); });
  });
}

std::function<void(const Connections::Subscribed&)> FleetConnections::with_others(
    std::string topic, std::string question, std::function<void(const Subscribed&)> done) const {
  if (!fleet_.is_shared()) return done;
  return [this, topic = std::move(topic), question = std::move(question),
          done = std::move(done)](const Subscribed& here) {
    fleet_.order(topic, question, [here, done](const std::vector<std::string>& answers) {
      Subscribed sum = here;
      for (const std::string& answer : answers) add(sum, answer);
      done(sum);
    });
  };
}

Connections::Done FleetConnections::with_others(std::string topic, std::string question, Done done) const {
  if (!fleet_.is_shared()) return done;
  const auto all = with_others(std::move(topic), std::move(question),
                               [done = std::move(done)](const Subscribed& sum) { done(sum.connections); });
  return [all](std::size_t connections) { all({connections, {}}); };
}

void FleetConnections::disconnect(ClientFilter who, std::uint16_t code, std::string reason, Done done) {
  json question = json_of(who);
  question["code"] = code;
  question["reason"] = reason;
  here_.disconnect(std::move(who), code, std::move(reason),
                   with_others("disconnect", text_of(question), std::move(done)));
}

void FleetConnections::refresh(ClientFilter who, Renewal renewal, Done done) {
  json question = json_of(who);
  question["expire_at"] = renewal.at_s;
  question["info"] = renewal.info_json;
  here_.refresh(std::move(who), std::move(renewal),
                with_others("refresh", text_of(question), std::move(done)));
}

void FleetConnections::subscribe(ClientFilter who, SubscriptionGrant grant, std::optional<Since> since,
                                 std::function<void(const Subscribed&)> done) {
  json question = json_of(who);
  question["grant"] = json_of(grant);
  if (since) question["since"] = json_of(*since);
  here_.subscribe(std::move(who), std::move(grant), since,
                  with_others("subscribe", text_of(question), std::move(done)));
}

void FleetConnections::unsubscribe(ClientFilter who, std::string channel, Done done) {
  json question = json_of(who);
  question["channel"] = channel;
  here_.unsubscribe(std::move(who), std::move(channel),
                    with_others("unsubscribe", text_of(question), std::move(done)));
}

}  // namespace carillon
