#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "store/store.hpp"

namespace carillon {

/// Passes every call on to another store. Base of stores that change one thing or two: a new method of Store
/// is written here once.
template <typename Interface = Store>
class ForwardingStore : public Interface {
 public:
  /// `to` is called only after it has been constructed: it may be a member of the derived class.
  explicit ForwardingStore(Store& to) : to_(to) {}

  void set_listener(StoreListener* listener) override { to_.set_listener(listener); }
  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    to_.append(channel, std::move(entry), options, std::move(done));
  }
  [[nodiscard]] bool keeps_entries() const override { return to_.keeps_entries(); }
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override {
    to_.follow(channel, std::move(done));
  }
  void unfollow(std::string_view channel) override { to_.unfollow(channel); }
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override {
    to_.top(channel, std::move(done));
  }
  void read(std::string_view channel, const ReadRange& range,
            std::function<void(const Page&)> done) override {
    to_.read(channel, range, std::move(done));
  }
  void remove_history(std::string_view channel, std::function<void(StoreError)> done) override {
    to_.remove_history(channel, std::move(done));
  }
  void add_presence(std::string_view channel, const PresenceMember& member) override {
    to_.add_presence(channel, member);
  }
  void remove_presence(std::string_view channel, std::string_view client) override {
    to_.remove_presence(channel, client);
  }
  void presence(std::string_view channel, const PresencePage& page,
                std::function<void(const PresenceResult&)> done) override {
    to_.presence(channel, page, std::move(done));
  }
  void presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) override {
    to_.presence_counts(channel, std::move(done));
  }
  void add_members(std::string_view channel, std::span<const std::string> users,
                   std::function<void(const MembersResult&)> done) override {
    to_.add_members(channel, users, std::move(done));
  }
  void remove_members(std::string_view channel, std::span<const std::string> users,
                      std::function<void(const MembersResult&)> done) override {
    to_.remove_members(channel, users, std::move(done));
  }
  void members(std::string_view channel, std::string_view after, std::size_t limit,
               std::function<void(const MembersResult&)> done) override {
    to_.members(channel, after, limit, std::move(done));
  }
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    to_.enter(channel, members_max, std::move(done));
  }
  void unread(std::string_view user, std::string_view channel,
              std::function<void(const UnreadResult&)> done) override {
    to_.unread(user, channel, std::move(done));
  }
  void inbox(std::string_view user, std::size_t limit,
             std::function<void(const InboxResult&)> done) override {
    to_.inbox(user, limit, std::move(done));
  }
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(StoreError)> done) override {
    to_.mark_read(user, channel, offset, std::move(done));
  }
  [[nodiscard]] std::string gateway() const override { return to_.gateway(); }
  void set_gateway_listener(GatewayListener* listener) override { to_.set_gateway_listener(listener); }
  void set_node(std::string_view node) override { to_.set_node(node); }
  void tell(std::string_view to_gateway, std::string_view message,
            std::function<void(StoreError, std::size_t)> done) override {
    to_.tell(to_gateway, message, std::move(done));
  }
  void order(std::string_view message, std::function<void(StoreError, std::size_t)> done) override {
    to_.order(message, std::move(done));
  }
  [[nodiscard]] std::optional<SharedTime> shared_time() const override { return to_.shared_time(); }
  void keep_house() override { to_.keep_house(); }
  void close() override { to_.close(); }

 private:
  Store& to_;
};

}  // namespace carillon
