#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/store.hpp"

namespace carillon {

/// Waits for the answer of one call: `call` gets the continuation. Fails the test if it does not come, or
/// comes twice.
template <typename Result, typename Call>
Result answer_of(Call&& call) {
  struct Answer {
    std::promise<Result> promise;
    std::atomic<int> times{0};
  };
  const auto answer = std::make_shared<Answer>();
  std::future<Result> future = answer->promise.get_future();
  call([answer](const Result& result) {
    if (answer->times.fetch_add(1) == 0) {
      answer->promise.set_value(result);
    } else {
      ADD_FAILURE() << "answered twice";
    }
  });
  if (future.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
    ADD_FAILURE() << "no answer";
    return Result{};
  }
  return future.get();
}

inline std::shared_ptr<Entry> entry_of(std::string data, Millis wall_ms = 0) {
  Publication publication;
  publication.data = std::move(data);
  return std::make_shared<Entry>(EntryKind::publication, std::move(publication), wall_ms);
}

/// A store's calls, each with its answer.
struct StoreCalls {
  Store& store;

  AppendResult append(const std::string& channel, std::shared_ptr<Entry> entry,
                      const AppendOptions& options = {}) {
    return answer_of<AppendResult>(
        [&](auto done) { store.append(channel, std::move(entry), options, std::move(done)); });
  }
  TopResult follow(const std::string& channel) {
    return answer_of<TopResult>([&](auto done) { store.follow(channel, std::move(done)); });
  }
  TopResult top(const std::string& channel) {
    return answer_of<TopResult>([&](auto done) { store.top(channel, std::move(done)); });
  }
  Page read(const std::string& channel, const ReadRange& range) {
    return answer_of<Page>([&](auto done) { store.read(channel, range, std::move(done)); });
  }
  StoreError remove_history(const std::string& channel) {
    return answer_of<StoreError>([&](auto done) { store.remove_history(channel, std::move(done)); });
  }
  MembersResult add(const std::string& channel, const std::vector<std::string>& users) {
    return answer_of<MembersResult>([&](auto done) { store.add_members(channel, users, std::move(done)); });
  }
  MembersResult remove(const std::string& channel, const std::vector<std::string>& users) {
    return answer_of<MembersResult>(
        [&](auto done) { store.remove_members(channel, users, std::move(done)); });
  }
  MembersResult members(const std::string& channel, const std::string& after = "",
                        std::size_t limit = 1'000) {
    return answer_of<MembersResult>(
        [&](auto done) { store.members(channel, after, limit, std::move(done)); });
  }
  EnterStep enter(const std::string& channel, std::size_t members_max = 1'000) {
    return answer_of<EnterResult>([&](auto done) { store.enter(channel, members_max, std::move(done)); })
        .step;
  }
  std::uint64_t unread(const std::string& user, const std::string& channel) {
    return answer_of<UnreadResult>([&](auto done) { store.unread(user, channel, std::move(done)); })
        .publications;
  }
  InboxContent inbox(const std::string& user, std::size_t limit = 1'000) {
    return answer_of<InboxResult>([&](auto done) { store.inbox(user, limit, std::move(done)); }).content;
  }
  StoreError mark_read(const std::string& user, const std::string& channel, Offset offset) {
    return answer_of<StoreError>([&](auto done) { store.mark_read(user, channel, offset, std::move(done)); });
  }
  PresenceResult presence(const std::string& channel, const PresencePage& page = {"", 1'000'000}) {
    return answer_of<PresenceResult>([&](auto done) { store.presence(channel, page, std::move(done)); });
  }
  PresenceCounts presence_counts(const std::string& channel) {
    return answer_of<PresenceCounts>([&](auto done) { store.presence_counts(channel, std::move(done)); });
  }
};

/// The data of a page's entries, in order.
inline std::vector<std::string> data_of(const Page& page) {
  std::vector<std::string> data;
  for (const EntryRef& entry : page.entries) data.push_back(entry->publication.data);
  return data;
}
inline std::vector<Offset> offsets_of(const Page& page) {
  std::vector<Offset> offsets;
  for (const EntryRef& entry : page.entries) offsets.push_back(entry->offset);
  return offsets;
}

}  // namespace carillon
