#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace carillon {

/// Messages of a client with commands that have not been read yet, in order of arrival.
struct QueuedMessages {
  std::deque<std::string> messages;
  std::size_t bytes = 0;  ///< of all messages, with the memory to keep them
  std::size_t read = 0;   ///< bytes of the first that have been read
  bool is_begun = false;  ///< only the end of the first message is here, because its start has been read
  std::uint16_t close_code = 0;  ///< with which the client has closed behind them; 0: it has not

  void add(std::string_view message) {
    messages.emplace_back(message);
    bytes += size_of(messages.back());
  }
  void remove_first() {
    bytes -= size_of(messages.front());
    messages.pop_front();
    read = 0;
    is_begun = false;
  }

 private:
  static std::size_t size_of(const std::string& message) { return message.size() + sizeof message; }
};

}  // namespace carillon
