#include "bindings/bind_fan_out.hpp"

#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/answer.hpp"
#include "bindings/python_items.hpp"
#include "bindings/store_answer.hpp"
#include "bindings/without_gil.hpp"
#include "requests/fan_out_requests.hpp"

namespace py = pybind11;

namespace carillon {

namespace {

template <typename Result>
struct Asked {
  Refusal refusal;
  Result result;
};

FanOutRequests requests_of(PyServer& self) { return {self.get().hub(), self.get().config().limits}; }

void raise(const Refusal& refusal, StoreError error = StoreError::unavailable) {
  if (!refusal.is_refused()) return;
  if (refusal.error.code == kErrorInternal.code) raise_unless_done(error);
  throw std::invalid_argument(refusal.text);
}

/// Asks without the GIL, and waits for the answer.
template <typename Result, typename Ask>
Result ask(PyServer& self, Ask&& request) {
  Answer<Asked<Result>> answer;
  {
    const WithoutGil release;
    const std::shared_lock entered(self.get().gate());
    std::forward<Ask>(request)([receiver = answer.receiver()](const Refusal& refusal, const Result& result) {
      receiver({refusal, result});
    });
  }
  Asked<Result> asked = answer.wait();
  raise(asked.refusal, asked.result.error);
  return std::move(asked.result);
}

std::size_t add_members(PyServer& self, const std::string& channel, const std::vector<std::string>& users) {
  return ask<MembersResult>(
             self, [&](auto done) { requests_of(self).add_members(channel, users, std::move(done)); })
      .members;
}

std::size_t remove_members(PyServer& self, const std::string& channel,
                           const std::vector<std::string>& users) {
  return ask<MembersResult>(
             self, [&](auto done) { requests_of(self).remove_members(channel, users, std::move(done)); })
      .members;
}

std::vector<std::string> members(PyServer& self, const std::string& channel, const std::string& after,
                                 std::int64_t limit) {
  return ask<MembersResult>(
             self, [&](auto done) { requests_of(self).members(channel, after, limit, std::move(done)); })
      .users;
}

std::map<std::string, std::uint64_t> counts_of(const Inbox& inbox) {
  return {inbox.unread.begin(), inbox.unread.end()};
}

/// Messages, and (channel, epoch, first, last) where they are lost; the counts; is there more, is some
/// missing?
py::tuple inbox(PyServer& self, const std::string& user, std::int64_t limit) {
  const Inbox found =
      ask<Inbox>(self, [&](auto done) { requests_of(self).inbox(user, limit, std::move(done)); });
  ItemMaker maker;
  py::list items(found.items.size());
  std::shared_ptr<const std::string> channel;
  for (std::size_t i = 0; i < found.items.size(); ++i) {
    const InboxItem& item = found.items[i];
    if (!item.entry) {
      items[i] = py::make_tuple(item.channel, item.epoch.text(), item.first, item.last);
      continue;
    }
    if (!channel || *channel != item.channel) channel = std::make_shared<const std::string>(item.channel);
    items[i] = maker.message(*item.entry, channel, item.epoch);
  }
  return py::make_tuple(std::move(items), counts_of(found), found.has_more, found.is_incomplete);
}

std::map<std::string, std::uint64_t> unread(PyServer& self, const std::string& user) {
  return counts_of(ask<Inbox>(self, [&](auto done) { requests_of(self).inbox(user, 0, std::move(done)); }));
}

void mark_read(PyServer& self, const std::string& user, const std::string& channel, Offset offset) {
  struct Nothing {
    StoreError error = StoreError::none;
  };
  ask<Nothing>(self, [&](auto done) {
    requests_of(self).mark_read(
        user, channel, offset,
        [done = std::move(done)](const Refusal& refusal, StoreError error) { done(refusal, {error}); });
  });
}

void set_fan_out(PyServer& self, const std::string& channel, const std::string& strategy,
                 const std::optional<std::int64_t>& threshold) {
  raise(self.call([&](Server& server) { return server.set_fan_out(channel, strategy, threshold); }));
}

/// Strategy, mode, threshold, members, subscribers, switches.
py::tuple fan_out(PyServer& self, const std::string& channel) {
  const FanOutState state = self.call([&](Server& server) {
    server.check_channel(channel);
    return server.hub().fan_out(channel);
  });
  return py::make_tuple(name_of(state.strategy), name_of(state.mode), state.threshold, state.members,
                        state.subscribers, state.switches);
}

}  // namespace

void bind_fan_out(py::class_<PyServer>& server) {
  server.def("add_members", &add_members, py::arg("channel"), py::arg("users"))
      .def("remove_members", &remove_members, py::arg("channel"), py::arg("users"))
      .def("members", &members, py::arg("channel"), py::arg("after"), py::arg("limit"))
      .def("inbox", &inbox, py::arg("user"), py::arg("limit"))
      .def("unread", &unread, py::arg("user"))
      .def("mark_read", &mark_read, py::arg("user"), py::arg("channel"), py::arg("offset"))
      .def("set_fan_out", &set_fan_out, py::arg("channel"), py::arg("strategy"), py::arg("threshold"))
      .def("fan_out", &fan_out, py::arg("channel"));
}

}  // namespace carillon
