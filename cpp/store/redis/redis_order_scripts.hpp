#pragma once

#include <string_view>

/// Scripts on the orders to all gateways (redis_scripts.hpp). An order is published, and kept for a while in
/// a stream whose entries have the fields h, sender and number, and m, the message: so a gateway whose link
/// is away for a moment finds it when the link is back. Redis' own time makes the ids, also where ARGV[2] has
/// one.
namespace carillon::redis_order_scripts {

// KEYS: orders. ARGV: identity, -, -, Redis channel, sender and number, message, lifetime, orders and bytes
// that are kept at most. Answers ok and how many have heard it.
inline constexpr std::string_view kOrder = R"lua(
-- A large order shortens what is kept: as many of its size fit into the bytes. So all that is kept is bounded.
local most = math.max(1, math.min(tonumber(ARGV[8]), math.floor(tonumber(ARGV[9]) / math.max(#ARGV[6], 1))))
local id = redis.pcall('XADD', KEYS[1], 'MAXLEN', most, '*', 'h', ARGV[5], 'm', ARGV[6])
if type(id) == 'table' then
  local why = id.err
  if string.find(why, '^%-?OOM') or string.find(why, '^%-?MISCONF') or string.find(why, '^%-?NOREPLICAS') then
    id = '-'  -- nothing can be kept now: those with a link hear it all the same
  else
    -- No gateway has written what is there.
    if string.find(why, 'WRONGTYPE', 1, true) or string.find(why, 'exhausted', 1, true) then redis.call('DEL', KEYS[1]) end
    id = redis.call('XADD', KEYS[1], 'MAXLEN', most, '*', 'h', ARGV[5], 'm', ARGV[6])
  end
end
if id ~= '-' then redis.call('PEXPIRE', KEYS[1], ARGV[7]) end
return {'ok', redis.call('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. id .. '\n' .. ARGV[6])}
)lua";

// KEYS: orders. ARGV: -, -, -, id of the last order that was heard or '', age of an order at most, orders and
// bytes at most. Answers ok, the id behind which to go on, 1 if there are more, then sender with number and
// message of each. Who has heard none yet begins behind the newest.
inline constexpr std::string_view kOrdersSince = R"lua(
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms or 0), tonumber(seq or 0)
end
local newest = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if newest.err and not string.find(newest.err, 'WRONGTYPE', 1, true) then return newest end
newest = newest[1] and newest[1][1] or '0-0'
local newest_ms, newest_seq = parts(newest)
-- 2^53: Redis does not count so far, so somebody else has written it.
if newest_ms >= 9007199254740992 or newest_seq >= 9007199254740992 then newest, newest_ms, newest_seq = '0-0', 0, 0 end
if ARGV[4] == '' then return {'ok', newest, '0'} end
if newest == '0-0' then return {'ok', ARGV[4], '0'} end
local ms, seq = parts(ARGV[4])
-- Another stream, of another primary perhaps, or that began anew: all that it keeps. What has been heard is
-- known by its number.
if ms > newest_ms or (ms == newest_ms and seq > newest_seq) then ms, seq = 0, 0 end
local oldest = redis.call('TIME')[1] * 1000 - tonumber(ARGV[5])
if ms < oldest then ms, seq = oldest, -1 end
local page = redis.call('XRANGE', KEYS[1], text(ms) .. '-' .. text(seq + 1), '+', 'COUNT', ARGV[6])
local answer = {'ok', newest, '0'}
local bytes = 0
for i, each in ipairs(page) do
  local entry = {}
  for at = 1, #each[2], 2 do entry[each[2][at]] = each[2][at + 1] end
  if entry.h and entry.m then
    answer[#answer + 1] = entry.h
    answer[#answer + 1] = entry.m
    bytes = bytes + #entry.m
  end
  if i == tonumber(ARGV[6]) or bytes >= tonumber(ARGV[7]) then
    answer[2], answer[3] = each[1], each[1] == newest and '0' or '1'
    break
  end
end
return answer
)lua";

}  // namespace carillon::redis_order_scripts
