#include "session/inbox_answer.hpp"

#include <cstddef>
#include <string>

#include "protocol/inbox_reply.hpp"
#include "protocol/json_writer.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {
/// The first counts: as many as `bytes_max` hold.
UnreadCounts fitting(const Inbox& inbox, std::size_t bytes_max, std::size_t& bytes) {
  static constexpr std::size_t kNumberBytes = 12;  // "":1234567,
  std::size_t channels = 0;
  for (; channels < inbox.unread.size(); ++channels) {
    const std::size_t count = inbox.unread[channels].first.size() + kNumberBytes;
    if (bytes + count > bytes_max) break;
    bytes += count;
  }
  return UnreadCounts(inbox.unread).first(channels);
}
}  // namespace

void append_inbox(std::string& out, const Inbox& inbox, std::size_t bytes_max) {
  std::size_t bytes = 0;
  const UnreadCounts unread = fitting(inbox, bytes_max / 2, bytes);
  std::string items;
  std::string object;
  bool is_cut = unread.size() < inbox.unread.size();
  for (const InboxItem& item : inbox.items) {
    object.clear();
    if (item.entry) {
      append_inbox_publication(object, item.channel, item.epoch.text(), view_of(*item.entry, item.epoch));
    } else {
      append_inbox_gap(object, item.channel, item.epoch.text(), item.first, item.last);
    }
    if (!items.empty() && bytes + items.size() + object.size() > bytes_max) {
      is_cut = true;
      break;
    }
    append_list_item(items, object);
  }
  append_inbox_reply(out, items, unread, inbox.has_more || is_cut, inbox.is_incomplete);
}

void append_unread(std::string& out, const Inbox& inbox, std::size_t bytes_max) {
  std::size_t bytes = 0;
  const UnreadCounts unread = fitting(inbox, bytes_max, bytes);
  append_unread_reply(out, unread, unread.size() < inbox.unread.size());
}

}  // namespace carillon
