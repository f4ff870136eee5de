#include "store/redis/redis_slots.hpp"

#include <array>
#include <charconv>

namespace carillon {

namespace {

/// CRC16 as Redis Cluster has it: XMODEM, polynomial 0x1021.
constexpr std::array<std::uint16_t, 256> make_crc_table() {
  std::array<std::uint16_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte << 8U;
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1U) ^ ((crc & 0x8000U) != 0 ? 0x1021U : 0U);
    table[byte] = static_cast<std::uint16_t>(crc);
  }
  return table;
}
constexpr std::array<std::uint16_t, 256> kCrcTable = make_crc_table();

template <typename Number>
bool parse_whole(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::uint16_t redis_slot_of(std::string_view key) {
  if (const std::size_t open = key.find('{'); open != std::string_view::npos) {
    const std::size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
  }
  std::uint32_t crc = 0;
  for (const char letter : key)
    crc = (crc << 8U) ^ kCrcTable[((crc >> 8U) ^ static_cast<unsigned char>(letter)) & 0xffU];
  return static_cast<std::uint16_t>(crc % kRedisSlots);
}

std::vector<RedisSlotRange> slot_ranges_of(const RedisReply& reply, const std::string& host) {
  std::vector<RedisSlotRange> ranges;
  for (const RedisReply& item : reply.items) {
    const std::int64_t first = item[0].number();
    const std::int64_t last = item[1].number();
    const RedisReply& primary = item[2];
    const std::int64_t port = primary[1].number();
    if (first < 0 || last < first || last >= static_cast<std::int64_t>(kRedisSlots) || port <= 0 ||
        port > 65'535)
      continue;
    RedisAddress address{primary[0].text, static_cast<std::uint16_t>(port)};
    if (address.host == "?") continue;  // it has no name, and names are what this cluster gives out
    if (address.host.empty()) address.host = host;
    ranges.push_back(
        {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), std::move(address)});
  }
  return ranges;
}

std::optional<RedisRedirection> redirection_of(std::string_view error, const std::string& host) {
  RedisRedirection redirection;
  redirection.is_asked = error.starts_with("ASK ");
  if (!redirection.is_asked && !error.starts_with("MOVED ")) return std::nullopt;
  error.remove_prefix(error.find(' ') + 1);
  const std::size_t blank = error.find(' ');
  const std::size_t colon = error.rfind(':');  // the host may be an IPv6 address
  if (blank == std::string_view::npos || colon == std::string_view::npos || colon < blank)
    return std::nullopt;
  if (!parse_whole(error.substr(0, blank), redirection.slot) || redirection.slot >= kRedisSlots ||
      !parse_whole(error.substr(colon + 1), redirection.node.port))
    return std::nullopt;
  redirection.node.host = error.substr(blank + 1, colon - blank - 1);
  if (redirection.node.host.empty()) redirection.node.host = host;
  if (redirection.node.host == "?") return std::nullopt;
  return redirection;
}

}  // namespace carillon
