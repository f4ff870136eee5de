#include "bindings/bind_server.hpp"

#include <pybind11/stl.h>

#include <condition_variable>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/answer.hpp"
#include "bindings/bind_fan_out.hpp"
#include "bindings/bridge.hpp"
#include "bindings/python_items.hpp"
#include "bindings/python_server.hpp"
#include "bindings/store_answer.hpp"
#include "bindings/without_gil.hpp"
#include "requests/since.hpp"
#include "server/server.hpp"
#include "server/takeover.hpp"

namespace py = pybind11;

namespace carillon {

namespace {

std::string bytes_of(const py::buffer& data) {
  Py_buffer view;
  if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  std::string bytes(static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
  PyBuffer_Release(&view);
  return bytes;
}

Publication publication_of(const py::buffer& data, bool is_json,
                           const std::optional<std::map<std::string, std::string>>& tags, std::string key,
                           bool has_delta = false) {
  Publication publication;
  publication.data = bytes_of(data);
  publication.content = is_json ? ContentType::json : ContentType::binary;
  publication.key = std::move(key);
  publication.has_delta = has_delta;
  if (tags) publication.tags.assign(tags->begin(), tags->end());
  return publication;
}

/// Kind of the failure, text for people, and the channel's top where that is known.
py::tuple append_failure(const AppendResult& result) {
  const auto tell = [&](const char* kind, std::string text) {
    return py::make_tuple(kind, std::move(text), result.position.offset, result.position.epoch.text());
  };
  switch (result.error) {
    case StoreError::conflict:
      return tell("conflict", "the channel's newest publication has offset " +
                                  std::to_string(result.position.offset) +
                                  ", or a newer version: read what is new before you publish again");
    case StoreError::outcome_unknown:
      return tell(
          "unknown",
          "the store does not say whether the publication was stored; with an idempotency_key it can be "
          "published again without being doubled");
    case StoreError::overloaded:
      return tell("unavailable", "too much waits for the store; publish again later");
    default:
      return tell("unavailable", "the store is not available; publish again");
  }
}

/// Answer for many at once.
class ManyAnswers {
 public:
  explicit ManyAnswers(std::size_t count) : state_(std::make_shared<State>()) {
    state_->results.resize(count);
    state_->missing = count;
  }
  [[nodiscard]] auto receiver(std::size_t index) {
    return [state = state_, index](const AppendResult& result) {
      const std::lock_guard lock(state->mutex);
      state->results[index] = result;
      if (--state->missing == 0) state->are_there.notify_one();
    };
  }
  const std::vector<AppendResult>& wait() {
    std::unique_lock lock(state_->mutex);
    if (state_->missing > 0) {
      lock.unlock();
      wait_without_gil([this](auto duration) {
        std::unique_lock waiting(state_->mutex);
        return state_->are_there.wait_for(waiting, duration, [this] { return state_->missing == 0; });
      });
    }
    return state_->results;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable are_there;
    std::vector<AppendResult> results;
    std::size_t missing = 0;
  };
  std::shared_ptr<State> state_;
};

py::object position_of(const AppendResult& result, ItemMaker& items) {
  if (result.error == StoreError::none) return items.position(result.position);
  const py::object failure = append_failure(result);
  PyErr_SetObject(py::module_::import("carillon._core").attr("AppendError").ptr(), failure.ptr());
  throw py::error_already_set();
}

/// How a publication is stored, as Python gives it.
struct StoredHow {
  std::string idempotency_key;
  std::string version_epoch;
  PublishOptions options;

  StoredHow(std::string key, bool skip_history, std::optional<Offset> expected_offset, std::uint64_t version,
            std::string epoch)
      : idempotency_key(std::move(key)), version_epoch(std::move(epoch)) {
    options.idempotency_key = idempotency_key;
    options.skip_history = skip_history;
    options.expected_offset = expected_offset;
    options.version = {version, version_epoch};
  }
  StoredHow(const StoredHow&) = delete;  // the options are views of the texts
  StoredHow& operator=(const StoredHow&) = delete;
};

struct Addressed {
  std::string channel;
  Publication publication;
};

std::string_view view_of(const py::handle& bytes) {
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

/// A pair of channel and bytes; nothing: it is something else, for Python to look at.
std::optional<Addressed> addressed(const py::handle& pair) {
  if (PyTuple_CheckExact(pair.ptr()) == 0 || PyTuple_GET_SIZE(pair.ptr()) != 2) return std::nullopt;
  const py::handle channel = PyTuple_GET_ITEM(pair.ptr(), 0);
  const py::handle data = PyTuple_GET_ITEM(pair.ptr(), 1);
  if (PyUnicode_CheckExact(channel.ptr()) == 0 || PyBytes_CheckExact(data.ptr()) == 0) return std::nullopt;
  Addressed item;
  item.channel = py::cast<std::string>(channel);
  item.publication.data = view_of(data);
  item.publication.content = ContentType::binary;
  return item;
}

py::list publish_all(PyServer& self, std::vector<Addressed> all) {
  self.call([&](Server& server) {
    for (const Addressed& item : all) server.check(item.channel, item.publication);  // all, or none
  });
  ManyAnswers answers(all.size());
  self.call([&](Server& server) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      server.publish_checked(all[i].channel, std::move(all[i].publication), {}, answers.receiver(i));
    }
  });
  const std::vector<AppendResult>& results = answers.wait();
  py::list positions(results.size());
  ItemMaker maker;
  for (std::size_t i = 0; i < results.size(); ++i) positions[i] = position_of(results[i], maker);
  return positions;
}

/// Only pairs of channel and bytes; with any other, None, and nothing is published. No Python code runs in
/// here: a thread that an interpreter at its end stops there would have to unwind through ours.
py::object publish_many(PyServer& self, const py::list& items) {
  std::vector<Addressed> all;
  all.reserve(items.size());
  for (const py::handle pair : items) {
    std::optional<Addressed> item = addressed(pair);
    if (!item) return py::none();
    all.push_back(std::move(*item));
  }
  return publish_all(self, std::move(all));
}

py::list publish_encoded(PyServer& self, const std::vector<std::tuple<std::string, py::bytes, bool>>& items) {
  std::vector<Addressed> all(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& [channel, data, is_json] = items[i];
    all[i].channel = channel;
    all[i].publication.data = view_of(data);
    all[i].publication.content = is_json ? ContentType::json : ContentType::binary;
  }
  return publish_all(self, std::move(all));
}

/// What is not UTF-8 in it is replaced: one bad text must not cost all that is handed over with it.
py::object text_of(std::string_view text) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

/// Of several fields with one name the first counts, as for the server itself.
py::dict to_dict(const ClientRequest::Fields& fields) {
  py::dict dict;
  for (const auto& [name, value] : fields) {
    const py::object key = text_of(name);
    if (!dict.contains(key)) dict[key] = text_of(value);
  }
  return dict;
}

/// The fields of the context that the hook is given, by their names in Python.
py::tuple question_to_python(const HookQuestion& question) {
  const ClientRequest& request = *question.request;
  py::dict context;
  context["client"] = text_of(question.client);
  context["user"] = text_of(question.user);
  context["transport"] = name_of(question.transport);
  if (question.operation == Operation::disconnect) {
    context["code"] = question.code;
    context["reason"] = text_of(question.reason);
    return py::make_tuple("question", question.id, name_of(question.operation), std::move(context));
  }
  context["data"] = py::bytes(*question.data);
  context["token"] = text_of(question.token);
  context["headers"] = to_dict(request.headers);
  context["query"] = to_dict(request.query);
  context["address"] = text_of(request.address);
  if (question.operation == Operation::rpc) context["method"] = text_of(question.method);
  if (!question.channel.empty()) context["channel"] = text_of(question.channel);
  return py::make_tuple("question", question.id, name_of(question.operation), std::move(context));
}

/// Channel, info and data as JSON, and the end in seconds since 1970 (0: none).
SubscriptionGrant grant_of(const py::handle& fields) {
  SubscriptionGrant grant;
  std::tie(grant.channel, grant.info_json, grant.data_json, grant.expiry.at_s) =
      fields.cast<std::tuple<std::string, std::string, std::string, std::int64_t>>();
  return grant;
}

/// Of an object with these attributes, see `Verdict` in hooks.py.
Verdict verdict_of(const py::object& answer) {
  Verdict verdict;
  verdict.is_allowed = answer.attr("is_allowed").cast<bool>();
  verdict.is_undecided = answer.attr("is_undecided").cast<bool>();
  verdict.identity.user = answer.attr("user").cast<std::string>();
  verdict.identity.info_json = answer.attr("info_json").cast<std::string>();
  verdict.identity.expiry.at_s = answer.attr("expires_at").cast<std::int64_t>();
  if (const py::object data = answer.attr("data"); !data.is_none()) verdict.data = data.cast<std::string>();
  verdict.is_data_binary = answer.attr("is_data_binary").cast<bool>();
  if (const py::object grant = answer.attr("grant"); !grant.is_none()) verdict.subscription = grant_of(grant);
  const py::object subscriptions = answer.attr("subscriptions");
  verdict.identity.names_subscriptions = !subscriptions.is_none();
  for (const py::handle each : subscriptions.is_none() ? py::object(py::tuple()) : subscriptions)
    verdict.identity.subscriptions.push_back(grant_of(each));
  verdict.code = answer.attr("code").cast<std::uint32_t>();
  verdict.reason = answer.attr("reason").cast<std::string>();
  return verdict;
}

py::tuple line_to_python(const LogLine& line) {
  py::dict fields;
  if (!line.event.empty()) fields["event"] = line.event;
  for (const auto& [name, number] : line.numbers) fields[py::str(name)] = number;
  for (const auto& [name, text] : line.texts) fields[py::str(name)] = text_of(text);
  if (line.is_connection) {
    fields["event"] = name_of(line.connection_event);
    fields["client"] = line.client;
    fields["user"] = text_of(line.user);
    if (line.connection_event == ConnectionEvent::refuse) fields["claimed_user"] = text_of(line.claimed_user);
    if (!line.channel.empty()) fields["channel"] = text_of(line.channel);
    if (!line.request.empty()) fields["request"] = line.request;
    if (line.connection_event == ConnectionEvent::close) {
      py::list channels;
      for (const std::string& channel : line.channels) channels.append(text_of(channel));
      fields["channels"] = channels;
      fields["subscriptions"] = line.subscriptions;
    }
    if (line.lost_from != 0) fields["lost_from"] = line.lost_from;
    if (line.connection_event == ConnectionEvent::gap ||
        line.connection_event == ConnectionEvent::not_recovered)
      fields["lost_to"] = line.lost_to;
    fields["peer"] = line.peer;
    fields["transport"] = name_of(line.transport);
    fields["code"] = line.code;
    fields["reason"] = text_of(line.reason);
    fields["duration_ms"] = line.duration_ms;
  }
  return py::make_tuple("log", line.logger, name_of(line.level), text_of(line.message), fields);
}

py::tuple to_python(BridgeItem& item) {
  if (item.question) return question_to_python(*item.question);
  if (item.line) return line_to_python(*item.line);
  if (item.is_reload) return py::make_tuple("reload", item.completion);
  if (item.is_completion) {
    if (item.result.error != StoreError::none) {
      return py::make_tuple("error", item.completion, append_failure(item.result));
    }
    return py::make_tuple("completion", item.completion, item.result.position.offset,
                          item.result.position.epoch.text());
  }
  ReaderItem& reader = item.reader;
  switch (reader.kind) {
    case ReaderItem::Kind::publication:
      break;  // they come in runs
    case ReaderItem::Kind::status:
      return py::make_tuple("status", reader.subscription, reader.is_recovered, reader.epoch.text(),
                            reader.offset, reader.is_conflated);
    case ReaderItem::Kind::gap:
      return py::make_tuple("gap", reader.subscription, reader.epoch.text(), reader.lost_from,
                            reader.lost_to);
    case ReaderItem::Kind::closed:
      return py::make_tuple("closed", reader.subscription);
    case ReaderItem::Kind::failed:
      return py::make_tuple("error", reader.subscription, "the store is not available; subscribe again");
  }
  return py::tuple();
}

bool is_publication(const BridgeItem& item) {
  return !item.question && !item.line && !item.is_completion && !item.is_reload &&
         item.reader.kind == ReaderItem::Kind::publication;
}

/// Does the one publication follow on the other, in the order of one log?
bool follows(const ReaderItem& later, const ReaderItem& earlier) {
  return later.subscription == earlier.subscription && later.epoch == earlier.epoch &&
         later.entry->is_stored() && later.entry->offset == earlier.entry->offset + 1;
}

/// What waits, as tuples; publications that follow on one another are one run.
py::list drain(Bridge& bridge, std::size_t items_max) {
  std::vector<BridgeItem> items = bridge.take(items_max);
  py::list events;
  ItemMaker maker;
  for (std::size_t i = 0; i < items.size();) {
    if (!is_publication(items[i])) {
      events.append(to_python(items[i++]));
      continue;
    }
    const std::size_t begin = i;
    do {
      ++i;
    } while (i < items.size() && is_publication(items[i]) && follows(items[i].reader, items[i - 1].reader));
    py::list run(i - begin);
    for (std::size_t j = begin; j < i; ++j) {
      const ReaderItem& item = items[j].reader;
      run[j - begin] = maker.message(*item.entry, item.channel, item.epoch);
    }
    events.append(py::make_tuple("publications", items[begin].reader.subscription, std::move(run)));
  }
  return events;
}

Operation operation_of(const std::string& name) {
  for (const Operation operation :
       {Operation::connect, Operation::subscribe, Operation::publish, Operation::refresh,
        Operation::sub_refresh, Operation::rpc, Operation::disconnect}) {
    if (name_of(operation) == name) return operation;
  }
  throw std::invalid_argument("operation: '" + name + "' has no hook");
}

std::optional<Since> start_of(const std::optional<std::string>& since,
                              const std::optional<std::uint64_t>& last) {
  if (last) return Since::last(*last);
  if (!since) return std::nullopt;
  std::optional<Since> start = parse_since(*since);
  if (!start) throw PositionError("since: '" + *since + "' is not a position; give epoch:offset or oldest");
  return start;
}

/// Messages, and the position of the top.
py::tuple history_of(PyServer& self, const std::string& channel, const std::optional<std::string>& since,
                     const std::optional<std::uint64_t>& last, std::int64_t limit, bool is_reverse) {
  const std::optional<Since> start = start_of(since, last);
  Answer<HistoryResult> answer;
  self.call([&](Server& server) {
    server.check_channel(channel);
    server.hub().history(channel, {limit, start, is_reverse}, answer.receiver());
  });
  const HistoryResult found = answer.wait();
  if (found.error == HistoryError::unavailable) throw StoreAway();
  if (found.error == HistoryError::epoch_differs) {
    throw PositionError("since: '" + since.value_or("") + "' is not of the channel's epoch '" +
                        std::string(found.top.epoch.text()) +
                        "': the log that it belongs to is gone; start again with since='oldest'");
  }
  const auto name = std::make_shared<const std::string>(channel);
  ItemMaker maker;
  py::list messages;
  for (const EntryRef& entry : found.entries) messages.append(maker.message(*entry, name, found.top.epoch));
  return py::make_tuple(std::move(messages), maker.position(found.top));
}

using Members = std::map<std::string, std::tuple<std::string, std::string, std::string>>;

/// User and what others see of the client and of its subscription, by client.
Members presence_of(PyServer& self, const std::string& channel) {
  self.call([&](Server& server) { server.check_channel(channel); });
  Members members;
  std::string after;
  for (bool has_more = true; has_more;) {  // in pages: nobody waits for the store meanwhile
    Answer<PresenceResult> answer;
    self.call([&](Server& server) {
      server.hub().presence(channel, {after, server.config().limits.reply_bytes()}, answer.receiver());
    });
    PresenceResult page = answer.wait();
    raise_unless_done(page.error);
    has_more = page.has_more;
    if (has_more) after = page.members.back().client;
    for (PresenceMember& member : page.members)
      members[member.client] = {std::move(member.user), std::move(member.conn_info_json),
                                std::move(member.chan_info_json)};
  }
  return members;
}

const char* name_of(const std::optional<SubscribeAnswer>& refusal) {
  if (!refusal) return "";
  if (*refusal == SubscribeAnswer::already_subscribed) return "already_subscribed";
  return *refusal == SubscribeAnswer::limit_exceeded ? "limit_exceeded" : "failed";
}

bool result_of(const std::shared_future<bool>& drain) {
  wait_without_gil([&](auto duration) { return drain.wait_for(duration) == std::future_status::ready; });
  return drain.get();
}

void bind_bridge(py::module_& m) {
  py::class_<Bridge, std::shared_ptr<Bridge>>(m, "Bridge")
      .def(py::init<std::size_t>(), py::arg("capacity"))
      .def("fileno", &Bridge::descriptor)
      .def("drain", &drain, py::arg("max_items"))
      .def("close", &Bridge::close);
}

}  // namespace

void bind_server(py::module_& m) {
  using Tags = std::optional<std::map<std::string, std::string>>;
  bind_bridge(m);
  m.def("check_json", [](const py::bytes& text) { check_json_of("data", view_of(text)); }, py::arg("text"));
  m.def("use_item_classes", &use_item_classes, py::arg("message"), py::arg("position"));
  py::class_<PyServer> py_server(m, "Server");
  bind_fan_out(py_server);
  py_server
      .def(py::init<const std::string&, const std::map<std::string, std::pair<std::string, py::bytes>>&>(),
           py::arg("config_json"), py::arg("pages"))
      .def(
          "start", [](PyServer& self) { self.get().start(); }, py::call_guard<WithoutGil>())
      .def(
          "take_over", [](PyServer& self) { self.get().take_over(); }, py::call_guard<WithoutGil>())
      .def(
          "offer_takeover", [](PyServer& self) { self.get().offer_takeover(); }, py::call_guard<WithoutGil>())
      .def_property_readonly("is_given_away",
                             [](PyServer& self) { return self.get().given_away().has_value(); })
      .def(
          "stop", [](PyServer& self) { self.get().stop(); }, py::call_guard<WithoutGil>())
      .def(
          "drain",
          [](PyServer& self, Millis deadline_ms, const std::optional<Millis>& pace_ms) {
            return result_of(self.get().begin_drain(deadline_ms, pace_ms));
          },
          py::arg("deadline_ms"), py::arg("pace_ms"))
      .def(
          "listen",
          [](PyServer& self, const std::string& host, std::uint16_t port) {
            return self.get().listen(host, port);
          },
          py::arg("host"), py::arg("port"), py::call_guard<WithoutGil>())
      .def(
          "drain_listener",
          [](PyServer& self, std::size_t number, Millis deadline_ms, const std::optional<Millis>& pace_ms) {
            return result_of(self.get().begin_listener_drain(number, deadline_ms, pace_ms));
          },
          py::arg("number"), py::arg("deadline_ms"), py::arg("pace_ms"))
      .def(
          "listeners", [](PyServer& self) { return self.get().listeners(); }, py::call_guard<WithoutGil>())
      .def_property_readonly("is_draining", [](PyServer& self) { return self.get().is_draining(); })
      .def_property_readonly("port", [](PyServer& self) { return self.get().port(); })
      .def_property_readonly("is_running", [](PyServer& self) { return self.get().is_running(); })
      .def_property_readonly("failure", [](PyServer& self) { return self.get().failure(); })
      .def(
          "publish",
          [](PyServer& self, const std::string& channel, const py::buffer& data, bool is_json,
             const Tags& tags, std::string key, std::string idempotency_key, bool skip_history, bool delta,
             std::optional<Offset> expected_offset, std::uint64_t version, std::string version_epoch) {
            const StoredHow how(std::move(idempotency_key), skip_history, expected_offset, version,
                                std::move(version_epoch));
            Publication publication = publication_of(data, is_json, tags, std::move(key), delta);
            Answer<AppendResult> answer;
            self.call([&](Server& server) {
              server.publish(channel, std::move(publication), how.options, answer.receiver());
            });
            ItemMaker maker;
            return position_of(answer.wait(), maker);
          },
          py::arg("channel"), py::arg("data"), py::arg("is_json"), py::arg("tags"), py::arg("key"),
          py::arg("idempotency_key"), py::arg("skip_history"), py::arg("delta"), py::arg("expected_offset"),
          py::arg("version"), py::arg("version_epoch"))
      .def("publish_many", &publish_many, py::arg("items"))
      .def("publish_encoded", &publish_encoded, py::arg("items"))
      .def(
          "publish_start",
          [](PyServer& self, const std::shared_ptr<Bridge>& bridge, std::uint64_t completion_id,
             const std::string& channel, const py::buffer& data, bool is_json, const Tags& tags,
             std::string key, std::string idempotency_key, bool skip_history, bool delta,
             std::optional<Offset> expected_offset, std::uint64_t version, std::string version_epoch) {
            const StoredHow how(std::move(idempotency_key), skip_history, expected_offset, version,
                                std::move(version_epoch));
            Publication publication = publication_of(data, is_json, tags, std::move(key), delta);
            self.call([&](Server& server) {
              server.publish(channel, std::move(publication), how.options,
                             [bridge, completion_id](const AppendResult& result) {
                               bridge->push_completion(completion_id, result);
                             });
            });
          },
          py::arg("bridge"), py::arg("completion_id"), py::arg("channel"), py::arg("data"),
          py::arg("is_json"), py::arg("tags"), py::arg("key"), py::arg("idempotency_key"),
          py::arg("skip_history"), py::arg("delta"), py::arg("expected_offset"), py::arg("version"),
          py::arg("version_epoch"))
      .def(
          "subscribe",
          [](PyServer& self, const std::shared_ptr<Bridge>& bridge, std::uint64_t subscription_id,
             const std::string& channel, const std::optional<std::string>& since,
             const std::optional<std::uint64_t>& last) {
            const std::optional<Since> start = start_of(since, last);
            self.call([&](Server& server) {
              server.check_channel(channel);
              bridge->limit(static_cast<std::size_t>(server.config().limits.bridge_items));
              server.open_reader(bridge, subscription_id, channel, start);
            });
          },
          py::arg("bridge"), py::arg("subscription_id"), py::arg("channel"), py::arg("since"),
          py::arg("last"))
      .def(
          "unsubscribe",
          [](PyServer& self, const std::shared_ptr<Bridge>& bridge, std::uint64_t subscription_id) {
            self.call([&](Server& server) { server.close_reader(bridge.get(), subscription_id); });
          },
          py::arg("bridge"), py::arg("subscription_id"))
      .def("history", &history_of, py::arg("channel"), py::arg("since"), py::arg("last"), py::arg("limit"),
           py::arg("is_reverse"))
      .def(
          "history_remove",
          [](PyServer& self, const std::string& channel) {
            Answer<StoreError> answer;
            self.call([&](Server& server) {
              server.check_channel(channel);
              server.hub().remove_history(channel, answer.receiver());
            });
            raise_unless_done(answer.wait());
          },
          py::arg("channel"))
      .def("presence", &presence_of, py::arg("channel"))
      .def(
          "channels", [](PyServer& self, const std::string& pattern) { return self.get().channels(pattern); },
          py::arg("pattern"), py::call_guard<WithoutGil>())
      .def(
          "set_events",
          [](PyServer& self, const std::shared_ptr<Bridge>& bridge) {
            self.get().set_events(bridge, bridge, bridge);
          },
          py::arg("bridge"))
      .def(
          "set_hooks",
          [](PyServer& self, const std::string& operation, std::vector<std::string> patterns,
             Millis deadline_ms) {
            self.get().set_hook(operation_of(operation), std::move(patterns), deadline_ms);
          },
          py::arg("operation"), py::arg("patterns"), py::arg("deadline_ms"))
      .def(
          "set_token_keys",
          [](PyServer& self, const std::string& table, const py::bytes& jwks) {
            self.call([&, keys = std::string_view(jwks)](Server& server) {
              server.set_token_keys(table == "subscription_token", keys);
            });
          },
          py::arg("table"), py::arg("jwks"))
      .def(
          "awaits_token_keys",
          [](PyServer& self, const std::string& table) {
            return self.call(
                [&](Server& server) { return server.awaits_token_keys(table == "subscription_token"); });
          },
          py::arg("table"))
      .def("unknown_token_keys",
           [](PyServer& self) {
             return self.call([](Server& server) { return server.unknown_token_keys(); });
           })
      .def(
          "reload",
          [](PyServer& self, const std::string& config_json,
             const std::map<std::string, std::string>& remote_keys) {
            return self.get().reload(parse_config(config_json), remote_keys);
          },
          py::arg("config_json"), py::arg("remote_keys"), py::call_guard<WithoutGil>())
      .def(
          "answer_reload",
          [](PyServer& self, std::uint64_t request, const std::string& changes_json) {
            return self.get().answer_reload(request, changes_json);
          },
          py::arg("request"), py::arg("changes_json"), py::call_guard<WithoutGil>())
      .def(
          "refuse_reload",
          [](PyServer& self, std::uint64_t request, int status, const std::vector<std::string>& reasons) {
            return self.get().refuse_reload(request, status, reasons);
          },
          py::arg("request"), py::arg("status"), py::arg("reasons"), py::call_guard<WithoutGil>())
      .def(
          "resolve",
          [](PyServer& self, std::uint64_t question_id, const py::object& verdict) {
            Verdict decided = verdict_of(verdict);
            return self.call([&](Server& server) { return server.resolve(question_id, std::move(decided)); });
          },
          py::arg("question_id"), py::arg("verdict"))
      .def(
          "cut", [](PyServer& self, const std::string& client) { return self.get().cut(client); },
          py::arg("client"), py::call_guard<WithoutGil>())
      .def(
          "stats", [](PyServer& self) { return self.get().stats(); }, py::call_guard<WithoutGil>())
      .def(
          "metrics", [](PyServer& self) { return self.get().metrics(); }, py::call_guard<WithoutGil>())
      .def(
          "ledger",
          [](PyServer& self, const std::string& channel, const std::string& client) {
            return self.get().ledger(channel, client);
          },
          py::arg("channel") = "", py::arg("client") = "", py::call_guard<WithoutGil>())
      .def(
          "answers", [](PyServer& self, Millis timeout_ms) { return self.get().answers(timeout_ms); },
          py::arg("timeout_ms"), py::call_guard<WithoutGil>())
      .def(
          "connections", [](PyServer& self) { return self.get().connections(); },
          py::call_guard<WithoutGil>())
      .def(
          "disconnect",
          [](PyServer& self, const std::string& client, std::uint16_t code, const std::string& reason) {
            return self.get().disconnect(client, code, reason);
          },
          py::arg("client"), py::arg("code"), py::arg("reason"), py::call_guard<WithoutGil>())
      .def(
          "disconnect_user",
          [](PyServer& self, std::string user, std::string client, std::uint16_t code, std::string reason) {
            return self.get().disconnect_user({std::move(user), std::move(client), {}, {}}, code,
                                              std::move(reason));
          },
          py::arg("user"), py::arg("client"), py::arg("code"), py::arg("reason"),
          py::call_guard<WithoutGil>())
      .def(
          "subscribe_user",
          [](PyServer& self, std::string user, std::string client, std::string channel, std::string info,
             std::string data, const std::optional<std::string>& since) {
            SubscriptionGrant grant;
            grant.channel = std::move(channel);
            grant.info_json = std::move(info);
            grant.data_json = std::move(data);
            const Connections::Subscribed subscribed =
                self.get().subscribe_user({std::move(user), std::move(client), {}, {}}, std::move(grant),
                                          start_of(since, std::nullopt));
            return std::pair(subscribed.connections, std::string(name_of(subscribed.refusal)));
          },
          py::arg("user"), py::arg("client"), py::arg("channel"), py::arg("info_json"), py::arg("data_json"),
          py::arg("since"), py::call_guard<WithoutGil>())
      .def(
          "unsubscribe_user",
          [](PyServer& self, std::string user, std::string client, std::string channel) {
            return self.get().unsubscribe_user({std::move(user), std::move(client), {}, {}},
                                               std::move(channel));
          },
          py::arg("user"), py::arg("client"), py::arg("channel"), py::call_guard<WithoutGil>());
}

}  // namespace carillon
