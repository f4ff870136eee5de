#pragma once

#include <string_view>

/// Scripts on members, read positions and inboxes (redis_scripts.hpp). A channel has the names of its
/// members; each user has its memberships and its inbox, in another slot. What a change of members has to do
/// in a user's keys is written into the channel's key j in the same step, and taken out when it is done:
/// whoever asks for the change again, or walks over the members, does it if the first gateway has not.
/// Changes have numbers that ascend, so that one that comes late has no effect.
namespace carillon::redis_member_scripts {

// KEYS: hash, stream, members, pending changes. ARGV: identity, time, new epoch, lifetime, + or -, users.
// Answers ok, number of members, u and s of the channel, then user and pending changes ("number+top" and
// "number-top") of each whose keys have to follow. The number is a time, so that it goes on when a failover
// has lost some of them, and tells in which epoch the top was.
inline constexpr std::string_view kChangeMembers = R"lua(
local now = time()
local lifetime, sign = tonumber(ARGV[4]), ARGV[5]
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'k', 'u', 's', 'm')
if not known[1] then
  if sign == '-' and redis.call('EXISTS', KEYS[3]) == 0 then return {'ok', '0', '0', ''} end
  make(now, lifetime)
  known = {ARGV[3], '0', ARGV[1], false, text(now), false, false}
elseif known[3] ~= ARGV[1] then
  return {'adopt'}
end
local began = known[5] or '0'
local number = text(math.max(tonumber(known[4] or 0) + 1, now, tonumber(began)))
local change = number .. sign .. known[2]
local has_pending = redis.call('EXISTS', KEYS[4]) == 1
local answer, has_changed = {'ok', '0', began, known[6] or ''}, false
for i = 6, #ARGV do
  local user = ARGV[i]
  local pending = has_pending and redis.call('HGET', KEYS[4], user)
  local is_member = redis.call('ZSCORE', KEYS[3], user)
  if (sign == '+') ~= (is_member and true or false) then
    -- First what a full memory refuses: then it has refused all.
    pending = pending and pending .. ' ' .. change or change
    redis.call('HSET', KEYS[4], user, pending)
    if sign == '+' then redis.call('ZADD', KEYS[3], 0, user) else redis.call('ZREM', KEYS[3], user) end
    has_changed = true
  end
  if pending then
    answer[#answer + 1] = user
    answer[#answer + 1] = pending
  end
end
local members = redis.call('ZCARD', KEYS[3])
if has_changed then
  redis.call('HSET', KEYS[1], 'k', number)
  redis.call('PEXPIRE', KEYS[4], text(lifetime))
end
-- Whoever has deleted the hash has not deleted the members.
if has_changed or text(members) ~= (known[7] or '0') then
  redis.call('HSET', KEYS[1], 'm', text(members))
  if members > 0 then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], text(lifetime)) end
end
answer[2] = text(members)
return answer
)lua";

// KEYS: pending changes. ARGV: -, -, -, then user and changes of each.
inline constexpr std::string_view kSettleMembers = R"lua(
for i = 4, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return {'ok'}
)lua";

// KEYS: members. ARGV: -, -, -, after, limit. Answers the number of members, then names.
inline constexpr std::string_view kMembers = R"lua(
local answer = redis.call('ZRANGEBYLEX', KEYS[1], '(' .. ARGV[4], '+', 'LIMIT', 0, ARGV[5])
table.insert(answer, 1, text(redis.call('ZCARD', KEYS[1])))
return answer
)lua";

// A walk's hash: e its epoch, f and l its offsets, g the gateway that walks, t the end of its lease, a the
// last member that has been entered. It enters what is between, also what was published in read mode
// meanwhile. A walk of an epoch that is over is forgotten. KEYS: hash, stream, walk, members, pending
// changes. ARGV: identity, time, -, gateway, members at most, lease, dead gateways, and the names that this
// one had, with a blank on both sides of each, lifetime, 1 to end changes of members as well. Answers done,
// the top, u and s of the channel, then user and pending changes of some; held, up to where all is entered,
// and the last member that has been; or walk, first and last offset, the member before, 1 if it was the first
// page, 1 if it is the last page, number of users to enter, u and s of the channel, then user and pending
// changes of each; behind them those of whom only the changes are to be done.
inline constexpr std::string_view kWalk = R"lua(
local now = time()
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'f', 'u', 's')
if not known[1] then return {'done', '0', '0', ''} end
if known[3] ~= ARGV[1] then return {'adopt'} end
local walk = redis.call('HMGET', KEYS[3], 'f', 'l', 'g', 't', 'a', 'e')
if walk[6] and walk[6] ~= known[1] then
  redis.call('DEL', KEYS[3])
  walk = {}
end
if not walk[1] then
  if not known[4] then
    local answer = {'done', known[2], known[5] or '0', known[6] or ''}
    if ARGV[9] == '1' and redis.call('EXISTS', KEYS[5]) == 1 then
      for _, each in ipairs(redis.call('HRANDFIELD', KEYS[5], 100, 'WITHVALUES')) do answer[#answer + 1] = each end
    end
    return answer
  end
  walk = {known[4], known[2], ARGV[4], '0', false}
  redis.call('HSET', KEYS[3], 'e', known[1], 'f', walk[1], 'l', walk[2])
  redis.call('HDEL', KEYS[1], 'f')
elseif walk[3] ~= ARGV[4] and tonumber(walk[4]) > now and not string.find(ARGV[7], ' ' .. walk[3] .. ' ', 1, true) then
  return {'held', text(tonumber(walk[1]) - 1), walk[5] or ''}
end
redis.call('HSET', KEYS[3], 'g', ARGV[4], 't', text(now + tonumber(ARGV[6])))
redis.call('PEXPIRE', KEYS[3], ARGV[8])
local limit = tonumber(ARGV[5])
local from = walk[5] and '(' .. walk[5] or '-'
local page = redis.call('ZRANGEBYLEX', KEYS[4], from, '+', 'LIMIT', 0, text(limit + 1))
local is_last = #page <= limit
if not is_last then page[#page] = nil end
local answer = {'walk', walk[1], walk[2], walk[5] or '', walk[5] and '0' or '1', is_last and '1' or '0',
                text(#page), known[5] or '0', known[6] or ''}
local has_pending = redis.call('EXISTS', KEYS[5]) == 1
for _, user in ipairs(page) do
  answer[#answer + 1] = user
  answer[#answer + 1] = has_pending and redis.call('HGET', KEYS[5], user) or ''
end
if is_last and has_pending then
  for _, each in ipairs(redis.call('HRANDFIELD', KEYS[5], 100, 'WITHVALUES')) do answer[#answer + 1] = each end
end
return answer
)lua";

// KEYS: hash, stream, walk. ARGV: identity, time, -, gateway, first offset of the walk, the member before, 1
// if it was the first page, 1 if it was the last page, the last member, lease. Answers more or done, and up
// to where all is entered; or lost: another gateway goes on.
inline constexpr std::string_view kWalkStep = R"lua(
local now = time()
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'f')
if not known[1] then return {'done', '0'} end
if known[3] ~= ARGV[1] then return {'adopt'} end
local walk = redis.call('HMGET', KEYS[3], 'f', 'g', 'a')
if walk[1] == ARGV[5] then
  if walk[2] ~= ARGV[4] then return {'lost'} end
  local is_there = (ARGV[7] == '1' and not walk[3]) or (ARGV[7] == '0' and walk[3] == ARGV[6])
  if is_there and ARGV[8] == '1' then
    redis.call('DEL', KEYS[3])
    walk[1] = false
  elseif is_there then
    redis.call('HSET', KEYS[3], 'a', ARGV[9], 't', text(now + tonumber(ARGV[10])))
  end
end
if walk[1] then return {'more', text(tonumber(walk[1]) - 1)} end
if known[4] then return {'more', text(tonumber(known[4]) - 1)} end
return {'done', known[2]}
)lua";

// KEYS: hash, stream. ARGV: identity. Answers ok, epoch, top, u and s; an unknown channel has the top 0.
inline constexpr std::string_view kStanding = R"lua(
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'u', 's')
if not known[1] then return {'ok', '', '0', '0', ''} end
if known[3] ~= ARGV[1] then return {'adopt'} end
return {'ok', known[1], known[2], known[4] or '0', known[5] or ''}
)lua";

// Of a user: KEYS: memberships and inbox. The hash of memberships has for each channel, behind a c, the
// number of the last change, and of each membership in order of time: the read position, the offset at which
// the user was removed (0: it is a member), and up to where publications have been entered; and behind a p,
// if that is later than the last change, when the epoch of these positions began. Beside them: n memberships,
// l memberships of channels that the user was removed from, i publications in the inbox, x 1 if some of those
// channels were forgotten. The inbox is a list of runs, oldest first: offset, number, channel.
inline constexpr std::string_view kUserPrelude = R"lua(
local function standing_of(value)
  local standing = {number = 0}
  local numbers = {}
  for each in string.gmatch(value or '', '%d+') do numbers[#numbers + 1] = tonumber(each) end
  standing.number = numbers[1] or 0
  for i = 2, #numbers, 3 do
    standing[#standing + 1] = {read = numbers[i], left = numbers[i + 1], entered = numbers[i + 2]}
  end
  return standing
end
local function parse_run(run)
  local first, count, channel = string.match(run, '^(%d+) (%d+) (.*)$')
  return tonumber(first), tonumber(count), channel
end
local function write_run(first, count, channel) return text(first) .. ' ' .. text(count) .. ' ' .. channel end
local function take_out(channel, first, last)
  local kept, taken = {}, 0
  for _, run in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    local from, count, name = parse_run(run)
    local to = from and from + count - 1
    if not from or name ~= channel or from > last or to < first then
      kept[#kept + 1] = run
    else
      taken = taken + math.min(to, last) + 1 - math.max(from, first)
      if from < first then kept[#kept + 1] = write_run(from, first - from, name) end
      if to > last then kept[#kept + 1] = write_run(last + 1, to - last, name) end
    end
  end
  if taken == 0 then return end
  redis.call('HINCRBY', KEYS[1], 'i', text(-taken))
  redis.call('DEL', KEYS[2])
  for _, run in ipairs(kept) do redis.call('RPUSH', KEYS[2], run) end
end
local function save(channel, standing)
  if standing.number >= standing.began or #standing == 0 then
    if standing.has_since then redis.call('HDEL', KEYS[1], 'p' .. channel) end
  else
    redis.call('HSET', KEYS[1], 'p' .. channel, text(standing.began))
  end
  if #standing == 0 then
    -- The number stays for as long as a change can be on its way: a late one must not begin it anew.
    local remembered = 600000
    if standing.number + remembered > time() then
      redis.call('HSET', KEYS[1], 'c' .. channel, text(standing.number))
    else
      redis.call('HDEL', KEYS[1], 'c' .. channel)
    end
    if redis.call('HLEN', KEYS[1]) > 64 then
      local all = redis.call('HGETALL', KEYS[1])
      for i = 1, #all, 2 do
        local is_channel = string.sub(all[i], 1, 1) == 'c'
        local number = is_channel and string.match(all[i + 1], '^%d+$')
        if number and tonumber(number) + remembered < time() then redis.call('HDEL', KEYS[1], all[i]) end
      end
    end
    return
  end
  local words = {text(standing.number)}
  for _, each in ipairs(standing) do
    words[#words + 1] = text(each.read)
    words[#words + 1] = text(each.left)
    words[#words + 1] = text(each.entered)
  end
  redis.call('HSET', KEYS[1], 'c' .. channel, table.concat(words, ' '))
end
-- Up to where positions count that were noted at a time; nothing: all of them. The epochs that are over ascend.
local function limit_of(noted, began, ended)
  if noted >= began then return nil end
  local limit = 0
  for since, last in string.gmatch(ended, '(%d+):(%d+)') do
    last = tonumber(last)
    limit = tonumber(since) <= noted and last or math.min(limit, last)
  end
  return limit
end
-- The memberships of a channel, with positions in its epoch; nothing: whoever asks knows an older one.
local function load(channel, began, ended)
  local known = redis.call('HMGET', KEYS[1], 'c' .. channel, 'p' .. channel)
  local standing = standing_of(known[1])
  standing.began, standing.has_since = began, known[2]
  local since = tonumber(known[2] or standing.number)
  if known[2] and since > began then return nil end
  local limit = #standing > 0 and limit_of(since, began, ended)
  if not limit then return standing end
  local kept = {number = standing.number, began = began, has_since = standing.has_since}
  for _, each in ipairs(standing) do
    each.read, each.entered = math.min(each.read, limit), math.min(each.entered, limit)
    local is_over = each.left > 0 and math.min(each.left, limit) <= each.read
    if each.left > 0 then each.left = math.min(each.left, limit) end
    if is_over then
      redis.call('HINCRBY', KEYS[1], 'l', -1)
    else
      kept[#kept + 1] = each
    end
  end
  take_out(channel, limit + 1, 2 ^ 53)
  save(channel, kept)
  kept.has_since = true
  return kept
end
-- Of too many channels that the user was removed from, the one that has been so for longest is forgotten.
local function forget_oldest(bound)
  while tonumber(redis.call('HGET', KEYS[1], 'l') or 0) > bound do
    local all = redis.call('HGETALL', KEYS[1])
    local oldest, oldest_channel
    for i = 1, #all, 2 do
      if string.sub(all[i], 1, 1) == 'c' then
        local standing = standing_of(all[i + 1])
        if #standing > 0 and standing[1].left > 0 and (not oldest or standing.number < oldest.number) then
          oldest, oldest_channel = standing, string.sub(all[i], 2)
        end
      end
    end
    if not oldest then
      redis.call('HDEL', KEYS[1], 'l')
      return
    end
    take_out(oldest_channel, oldest[1].read + 1, oldest[1].left)
    table.remove(oldest, 1)
    oldest.has_since = redis.call('HGET', KEYS[1], 'p' .. oldest_channel)
    oldest.began = tonumber(oldest.has_since or oldest.number)
    save(oldest_channel, oldest)
    redis.call('HINCRBY', KEYS[1], 'l', -1)
    redis.call('HSET', KEYS[1], 'x', 1)
  end
end
local function change(channel, changes, began, ended, bound, lifetime)
  local standing = load(channel, began, ended)
  if not standing then return false end
  local is_changed = false
  for number, sign, offset in string.gmatch(changes, '(%d+)([+-])(%d+)') do
    number, offset = tonumber(number), tonumber(offset)
    offset = math.min(offset, limit_of(number, began, ended) or offset)
    if number > standing.number then
      is_changed = true
      standing.number = number
      local newest = standing[#standing]
      local is_member = newest and newest.left == 0
      if sign == '+' and not is_member then
        standing[#standing + 1] = {read = offset, left = 0, entered = offset}
        redis.call('HINCRBY', KEYS[1], 'n', 1)
      elseif sign == '-' and is_member then
        redis.call('HINCRBY', KEYS[1], 'n', -1)
        if newest.read >= offset then
          standing[#standing] = nil
        else
          newest.left = offset
          redis.call('HINCRBY', KEYS[1], 'l', 1)
        end
      end
    end
  end
  if not is_changed then return true end
  save(channel, standing)
  forget_oldest(bound)
  for i = 1, 2 do
    if tonumber(redis.call('HGET', KEYS[1], 'n') or 0) > 0 then
      redis.call('PERSIST', KEYS[i])
    else
      redis.call('PEXPIRE', KEYS[i], lifetime)
    end
  end
  return true
end
)lua";

// ARGV: -, -, -, channel, u and s of it, changes, channels left at most, lifetime. Answers ok; or late: its
// epoch is not the channel's any more.
inline constexpr std::string_view kUserChange = R"lua(
if not change(ARGV[4], ARGV[7], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[8]), ARGV[9]) then return {'late'} end
return {'ok'}
)lua";

// ARGV: as user_change, then first and last offset, bound of the inbox. Answers ok, and the number of
// publications that are new in the inbox; or late.
inline constexpr std::string_view kUserEnter = R"lua(
local channel, began, ended = ARGV[4], tonumber(ARGV[5]), ARGV[6]
if ARGV[7] ~= '' then change(channel, ARGV[7], began, ended, tonumber(ARGV[8]), ARGV[9]) end
local standing = load(channel, began, ended)
if not standing then return {'late'} end
local newest = standing[#standing]
if not newest or newest.left ~= 0 then return {'ok', '0'} end
local first = math.max(tonumber(ARGV[10]), newest.read + 1, newest.entered + 1)
local last, bound = tonumber(ARGV[11]), tonumber(ARGV[12])
if first > last then return {'ok', '0'} end
newest.entered = last
save(channel, standing)
local count = last + 1 - first
local run = redis.call('LINDEX', KEYS[2], -1)
local run_first, run_count, run_channel
if run then run_first, run_count, run_channel = parse_run(run) end
if run_channel == channel and run_first + run_count == first then
  redis.call('LSET', KEYS[2], -1, write_run(run_first, run_count + count, channel))
else
  redis.call('RPUSH', KEYS[2], write_run(first, count, channel))
end
local all = redis.call('HINCRBY', KEYS[1], 'i', text(count))
if all > bound then
  redis.call('HSET', KEYS[1], 'i', text(bound))
  while all > bound do
    run_first, run_count, run_channel = parse_run(redis.call('LINDEX', KEYS[2], 0))
    local out = math.min(run_count, all - bound)
    all = all - out
    if out == run_count then
      redis.call('LPOP', KEYS[2])
    else
      redis.call('LSET', KEYS[2], 0, write_run(run_first + out, run_count - out, run_channel))
    end
  end
end
return {'ok', text(count)}
)lua";

// Answers 1 if channels were forgotten, the memberships as in the hash, and the runs.
inline constexpr std::string_view kUserInbox = R"lua(
return {redis.call('HGET', KEYS[1], 'x') or '0', redis.call('HGETALL', KEYS[1]),
        redis.call('LRANGE', KEYS[2], 0, -1)}
)lua";

// ARGV: -, -, -, channel, u and s of it, offset, lifetime. Answers ok or late.
inline constexpr std::string_view kUserMarkRead = R"lua(
if redis.call('EXISTS', KEYS[1]) == 0 then return {'ok'} end
local channel, offset = ARGV[4], tonumber(ARGV[7])
local standing = load(channel, tonumber(ARGV[5]), ARGV[6])
if not standing then return {'late'} end
local kept = {number = standing.number, began = standing.began, has_since = standing.has_since}
for _, each in ipairs(standing) do
  if each.left > 0 then
    each.read = math.max(each.read, math.min(offset, each.left))
  else
    each.read = math.max(each.read, offset)
  end
  if each.left > 0 and each.read >= each.left then
    redis.call('HINCRBY', KEYS[1], 'l', -1)
  else
    kept[#kept + 1] = each
  end
end
if #standing > 0 then save(channel, kept) end
take_out(channel, 0, offset)
-- The list was made anew.
if tonumber(redis.call('HGET', KEYS[1], 'n') or 0) == 0 then redis.call('PEXPIRE', KEYS[2], ARGV[8]) end
redis.call('HDEL', KEYS[1], 'x')
return {'ok'}
)lua";

}  // namespace carillon::redis_member_scripts
