#pragma once

#include <string_view>

/// Scripts on presence and gateways (redis_scripts.hpp). A channel's presence is a sorted set of entries:
/// client, a zero byte, the gateway's eight letters, then length, colon and text of the user, of the
/// connection's and of the subscription's info. In their order they are read in pages; one more hash counts
/// the clients of each user.
namespace carillon::redis_presence_scripts {

inline constexpr std::string_view kPresencePrelude = R"lua(
local function parse(entry)
  local zero = string.find(entry, '\0', 1, true)
  if not zero then return end
  local _, colon = string.find(entry, ':', zero + 9, true)
  local size = tonumber(string.sub(entry, zero + 9, colon - 1))
  return string.sub(entry, zero + 1, zero + 8), string.sub(entry, colon + 1, colon + size)
end
local function take_out(entry, user)
  -- First what a full memory refuses: then it has refused all.
  local left = redis.call('HINCRBY', KEYS[2], user, -1)
  redis.call('ZREM', KEYS[1], entry)
  if left <= 0 then redis.call('HDEL', KEYS[2], user) end
end
)lua";

// KEYS: presence, its users. ARGV: -, time, -, lifetime, names of the gateway with a blank on both sides of
// each, the time until which others do not call it dead, then of each client: client, user and entry from the
// zero byte on; without an entry: it has gone. Only the gateway that has an entry removes it. Answers ok; or
// late: others may have cleared up behind the gateway, and what it adds would stay for ever, so it adds
// nothing.
inline constexpr std::string_view kPresenceChange = R"lua(
local is_late = time() >= tonumber(ARGV[6])
local answer = 'ok'
for i = 7, #ARGV, 3 do
  local client, user, tail = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local known = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. client .. '\0', '(' .. client .. '\1', 'LIMIT', 0, 1)[1]
  local known_gateway, known_user
  if known then known_gateway, known_user = parse(known) end
  if tail == '' then
    if known and string.find(ARGV[5], ' ' .. known_gateway .. ' ', 1, true) then take_out(known, known_user) end
  elseif is_late then
    answer = 'late'
  elseif known ~= client .. tail then
    if known then take_out(known, known_user) end
    redis.call('ZADD', KEYS[1], 0, client .. tail)
    redis.call('HINCRBY', KEYS[2], user, 1)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {answer}
)lua";

// KEYS: presence, its users.
inline constexpr std::string_view kPresenceCounts = R"lua(
return {redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2])}
)lua";

// KEYS: presence, its users. ARGV: -, -, -, gateway, the entry behind which to go on or '', entries at most.
// Answers the last entry if there are more, else ''.
inline constexpr std::string_view kPresenceClear = R"lua(
local from = ARGV[5] == '' and '-' or '(' .. ARGV[5]
local page = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[6])
for _, entry in ipairs(page) do
  local gateway, user = parse(entry)
  if gateway == ARGV[4] then take_out(entry, user) end
end
return #page < tonumber(ARGV[6]) and '' or page[#page]
)lua";

// KEYS: gateways. ARGV: -, time, -, lifetime, id, process and version, age at which one is dead, and what:
// new, beat, leave or list. Answers ok, or gone: the gateway is dead, and needs another name; then the time,
// and of each gateway id, time of its last sign of life (0: it has left), and process and version.
inline constexpr std::string_view kGatewayBeat = R"lua(
local now = time()
local id, what, state = ARGV[5], ARGV[8], 'ok'
local known = redis.call('HGET', KEYS[1], id)
local last = known and tonumber(string.match(known, '^%d+'))
if what == 'leave' then
  if known then redis.call('HSET', KEYS[1], id, '0 ' .. ARGV[6]) end
elseif what == 'beat' and (not last or last + tonumber(ARGV[7]) <= now) then
  state = 'gone'
elseif what ~= 'list' then
  redis.call('HSET', KEYS[1], id, text(now) .. ' ' .. ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local answer = {state, text(now)}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local beat, names = string.match(all[i + 1], '^(%d+) (.*)$')
  if beat and string.find(all[i], '^%a%a%a%a%a%a%a%a$') then  -- otherwise it is of a neighbouring version
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = beat
    answer[#answer + 1] = names
  end
end
return answer
)lua";

// Of a dead gateway. KEYS: lease, channels with presence, channels whose members it walks over or changes.
// ARGV: -, -, -, who asks, the length of the lease, channels at most. Answers held; done; or work and both
// lists.
inline constexpr std::string_view kGatewayClear = R"lua(
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[4] then return {'held'} end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
local presence = redis.call('SRANDMEMBER', KEYS[2], ARGV[6])
local walks = redis.call('SRANDMEMBER', KEYS[3], ARGV[6])
if #presence == 0 and #walks == 0 then
  redis.call('DEL', KEYS[1])
  return {'done'}
end
return {'work', presence, walks}
)lua";

}  // namespace carillon::redis_presence_scripts
