#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "store/store.hpp"

namespace carillon {

/// For stores of tests that are about something else.
class StoreWithoutMembers : public Store {
 public:
  void add_members(std::string_view /*channel*/, std::span<const std::string> /*users*/,
                   std::function<void(const MembersResult&)> done) override {
    done({StoreError::unavailable, 0, {}});
  }
  void remove_members(std::string_view /*channel*/, std::span<const std::string> /*users*/,
                      std::function<void(const MembersResult&)> done) override {
    done({StoreError::unavailable, 0, {}});
  }
  void members(std::string_view /*channel*/, std::string_view /*after*/, std::size_t /*limit*/,
               std::function<void(const MembersResult&)> done) override {
    done({StoreError::unavailable, 0, {}});
  }
  void enter(std::string_view /*channel*/, Offset /*first*/, Offset /*last*/, std::size_t /*members_max*/,
             std::function<void(const EnterResult&)> done) override {
    done({StoreError::unavailable, {}});
  }
  void unread(std::string_view /*user*/, std::string_view /*channel*/,
              std::function<void(const UnreadResult&)> done) override {
    done({StoreError::unavailable, 0});
  }
  void inbox(std::string_view /*user*/, std::size_t /*limit*/,
             std::function<void(const InboxResult&)> done) override {
    done({StoreError::unavailable, {}});
  }
  void mark_read(std::string_view /*user*/, std::string_view /*channel*/, Offset /*offset*/,
                 std::function<void(StoreError)> done) override {
    done(StoreError::unavailable);
  }
};

}  // namespace carillon
