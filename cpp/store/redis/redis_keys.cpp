#include "store/redis/redis_keys.hpp"

#include <array>
#include <cstdint>

namespace carillon {

namespace {

/// FNV-1a of 64 bits: it spreads names over slots, and has to be the same in every process. Nobody gains by a
/// collision, because the name follows behind it.
std::array<char, 16> digest_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
  std::array<char, 16> digits{};
  for (char& digit : digits) {
    digit = "0123456789abcdef"[hash >> 60U];
    hash <<= 4U;
  }
  return digits;
}

constexpr std::size_t kTagBytes = 18;  // with its braces

}  // namespace

std::string RedisKeys::tagged(char room, char kind, std::string_view name) const {
  const std::array<char, 16> digest = digest_of(name);
  std::string key;
  key.reserve(root_.size() + kTagBytes + 4 + name.size());
  key.append(root_).append(1, '{').append(digest.data(), digest.size()).append("}");
  key.append(1, room).append(1, kind).append(1, ':').append(name);
  return key;
}

// Kinds of keys of a channel: h hash, s stream, a announcements, i idempotency
// key, p presence, q users of the presence, m members, j changes of members that the users' keys may not have
// yet, w walk.
std::string RedisKeys::of_channel(char kind, std::string_view channel) const {
  return tagged('c', kind, channel);
}
// Of a user: m memberships, i inbox.
std::string RedisKeys::of_user(char kind, std::string_view user) const { return tagged('u', kind, user); }
// Of a gateway: c channels with presence, w channels whose members it walks over or changes, l lease of who
// clears it up.
std::string RedisKeys::of_gateway(char kind, std::string_view gateway) const {
  return tagged('g', kind, gateway);
}

std::string RedisKeys::idempotency_key(std::string_view channel, std::string_view key) const {
  // The length, because both may contain anything.
  return of_channel('i', channel) + ':' + std::to_string(channel.size()) + ':' + std::string(key);
}

std::string_view RedisKeys::channel_of(std::string_view announcements) const {
  const std::size_t begin = root_.size() + kTagBytes;
  if (announcements.size() < begin || !announcements.starts_with(root_) ||
      !announcements.substr(begin).starts_with("ca:"))
    return {};
  return announcements.substr(begin + 3);
}

}  // namespace carillon
