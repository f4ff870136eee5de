#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "store/store.hpp"

namespace carillon {

/// A member of a presence as the memory store keeps it: its texts lie one behind the other in one block,
/// because every idle connection pays for one record per subscription.
class PresenceRecord {
 public:
  explicit PresenceRecord(const PresenceMember& member)
      : client_bytes_(size_of(member.client)),
        user_bytes_(size_of(member.user)),
        conn_info_bytes_(size_of(member.conn_info_json)),
        chan_info_bytes_(size_of(member.chan_info_json)),
        texts_(std::make_unique_for_overwrite<char[]>(bytes())) {
    char* end = texts_.get();
    for (const std::string* text :
         {&member.client, &member.user, &member.conn_info_json, &member.chan_info_json})
      end += text->copy(end, text->size());
  }

  [[nodiscard]] std::string_view client() const { return {texts_.get(), client_bytes_}; }
  [[nodiscard]] std::string_view user() const { return {texts_.get() + client_bytes_, user_bytes_}; }
  [[nodiscard]] std::size_t bytes() const {
    return std::size_t{client_bytes_} + user_bytes_ + conn_info_bytes_ + chan_info_bytes_;
  }
  [[nodiscard]] PresenceMember member() const {
    const char* const conn_info = user().data() + user_bytes_;
    return {std::string(client()),
            std::string(user()),
            {conn_info, conn_info_bytes_},
            {conn_info + conn_info_bytes_, chan_info_bytes_}};
  }

  /// By client, which may also be given as a text.
  struct ByClient {
    using is_transparent = void;
    static std::string_view id_of(const PresenceRecord& record) { return record.client(); }
    static std::string_view id_of(std::string_view client) { return client; }
    bool operator()(const auto& left, const auto& right) const { return id_of(left) < id_of(right); }
  };

 private:
  static std::uint32_t size_of(const std::string& text) { return static_cast<std::uint32_t>(text.size()); }

  std::uint32_t client_bytes_;
  std::uint32_t user_bytes_;
  std::uint32_t conn_info_bytes_;
  std::uint32_t chan_info_bytes_;
  std::unique_ptr<char[]> texts_;
};

}  // namespace carillon
