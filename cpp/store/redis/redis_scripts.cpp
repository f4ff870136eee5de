#include "store/redis/redis_scripts.hpp"

#include "store/redis/redis_member_scripts.hpp"
#include "store/redis/redis_order_scripts.hpp"
#include "store/redis/redis_presence_scripts.hpp"

namespace carillon {

namespace {

// Numbers in Lua are doubles: exact up to 2^53. Their text has to be made by %.0f, not by tostring.
constexpr std::string_view kPrelude = R"lua(
local function text(number) return string.format('%.0f', number) end
local function time()
  local given = tonumber(ARGV[2]) or tonumber(string.sub(ARGV[2], 2))
  if given then return given end
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
-- In a cluster whoever follows a channel has subscribed at the node of its slot. While the slot moves to another
-- node that is still the old one: the new one tells all nodes, by one Redis channel to which each gateway has
-- subscribed somewhere.
local function announce(channel, message)
  local way = string.sub(ARGV[2], 1, 1)
  if way == 's' then
    redis.call('SPUBLISH', channel, message)
  elseif way == 'a' then
    local root = string.sub(channel, 1, string.find(channel, '{', 1, true) - 1)
    redis.call('PUBLISH', root .. 'moving', #channel .. ' ' .. channel .. message)
  else
    redis.call('PUBLISH', channel, message)
  end
end
-- A field of a stream's entry, wherever it stands: a neighbouring version may have added some.
local function field(entry, name)
  for i = 1, #entry, 2 do
    if entry[i] == name then return entry[i + 1] end
  end
  return nil
end
-- The channel's hash: e epoch, o offset, i identity of the primary, m members, c cost of all that was ever
-- appended, v and w the last version and its epoch, x when the keys' lifetimes were last prolonged, t time to
-- live of a publication, b the first epoch, by which keys know that their channel was not lost meanwhile, f the
-- first offset that a walk over the members has to enter, k number of the last change of members, y when the
-- stream's lifetime was last prolonged, z cost of what the stream has no more, u when the epoch began, s when
-- each of those before it began and at which offset it ended, g:GATEWAY number, time and answer of the last
-- group that it appended. A channel with members does not expire.
local function make(now, lifetime)
  -- A stream whose hash was lost has offsets that are given again.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', ARGV[3], 'b', ARGV[3], 'o', 0, 'i', ARGV[1], 'x', text(now), 'u', text(now))
  redis.call('PEXPIRE', KEYS[1], lifetime)
end
-- Positions of members that were noted before an epoch began may be beyond where the one before it ended.
local function begin_epoch(top)
  local known = redis.call('HMGET', KEYS[1], 'u', 's', 'k')
  local ended = (known[2] and known[2] .. ' ' or '') .. (known[1] or '0') .. ':' .. top
  local _, blanks = string.gsub(ended, ' ', '')
  if blanks >= 8 then ended = string.match(ended, ' (.*)$') end
  local began = math.max(time(), tonumber(known[1] or 0) + 1, tonumber(known[3] or 0) + 1)
  redis.call('HSET', KEYS[1], 'e', ARGV[3], 'u', text(began), 's', ended)
end
local function prolong(now, last, lifetime, members)
  if last and now - last < lifetime / 16 and now >= last then return false end
  redis.call('HSET', KEYS[1], 'x', text(now))
  if not members or members == '0' then redis.call('PEXPIRE', KEYS[1], text(lifetime)) end
  redis.call('PEXPIRE', KEYS[2], text(lifetime))
  return true
end
)lua";

// ARGV: identity, -, new epoch, 1 to keep the epoch in any case. INFO here, because only inside of a script
// it belongs to the same moment as the change.
constexpr std::string_view kAdopt = R"lua(
local info = redis.call('INFO', 'replication')
local role = string.match(info, 'role:(%a+)')
local identity = string.match(info, 'master_replid:(%x+)')
if role ~= 'master' then return {'not_primary'} end
local known = redis.call('HMGET', KEYS[1], 'e', 'i', 'o')
if known[1] and known[2] ~= identity then
  redis.call('HSET', KEYS[1], 'i', identity)
  if ARGV[4] ~= '1' then begin_epoch(known[3]) end
end
return {'is', identity}
)lua";

// KEYS: hash, stream, the gateway's last group, keys of idempotency. ARGV: identity, time, new epoch,
// lifetime of the channel, number of the group, lifetime of that, Redis channel, mode, bounds by entries,
// cost and age, window of keys, gateway; then of each entry: kind (s stored, e ephemeral; a capital: with
// options), cost, bytes, and as options: index of the key in KEYS or 0, the expected offset or '', version in
// 20 digits or '', its epoch.
constexpr std::string_view kAppend = R"lua(
local now = time()
local lifetime = tonumber(ARGV[4])
local own = 'g:' .. ARGV[13]
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'm', 'c', 'v', 'w', 'x', 'b', 'f', 'y', 'z', own, 't')
local epoch = known[1]
if not epoch then
  make(now, lifetime)
  epoch = ARGV[3]
  known = {epoch, '0', ARGV[1], false, false, false, false, text(now), epoch, false, false, false, false, ARGV[11]}
elseif known[3] ~= ARGV[1] then
  return {'adopt'}
end
local first = tonumber(known[2])
local members = known[4] or '0'
if known[13] then
  local number, answer = string.match(known[13], '^(%d+) %d+ (.*)$')
  if tonumber(number) == tonumber(ARGV[5]) then return {'ok', epoch, text(first), members, answer} end
  if tonumber(number) > tonumber(ARGV[5]) then return {'late'} end
elseif first > 0 then
  -- A gateway that is new here: forget those that have appended nothing for long.
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'g:' then
      local written = string.match(all[i + 1], '^%d+ (%d+) ')
      if written and tonumber(written) + tonumber(ARGV[6]) < now then redis.call('HDEL', KEYS[1], all[i]) end
    end
  end
end
local is_prolonged = prolong(now, tonumber(known[8] or 0), lifetime, members)
local offset, cost = first, tonumber(known[5] or 0)
local version, version_epoch = known[6], known[7]
local entries_max, cost_max, ttl = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local answers, told = {}, {}
local is_broken = false
local function add(id, entry_cost, bytes)
  local before = text(cost - tonumber(entry_cost))
  local added
  if entries_max > 0 then
    added = redis.pcall('XADD', KEYS[2], 'MAXLEN', ARGV[9], id, 'd', bytes, 'c', text(cost), 'n', entry_cost)
  else
    added = redis.pcall('XADD', KEYS[2], id, 'd', bytes, 'c', text(cost), 'n', entry_cost)
  end
  if type(added) == 'string' then return end
  -- The key has what no gateway has appended: an entry above the top, or no stream at all. Nothing can be
  -- appended to it any more. So the history is lost, and the channel has a new epoch, by which all are told.
  local why = added.err
  if string.find(why, 'equal or smaller', 1, true) or string.find(why, 'exhausted', 1, true) or
      string.find(why, 'WRONGTYPE', 1, true) then
    redis.call('DEL', KEYS[2])
    is_broken = true
    epoch = ARGV[3]
    known[12] = before
  end
  redis.call('XADD', KEYS[2], id, 'd', bytes, 'c', text(cost), 'n', entry_cost)
end
local at = 14
while ARGV[at] do
  local kind, entry_cost, bytes = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local answer, key, entry_version, entry_version_epoch
  if kind == 'S' or kind == 'E' then
    kind = string.lower(kind)
    if ARGV[at] ~= '0' then
      key = KEYS[tonumber(ARGV[at])]
      local before = redis.call('GET', key)
      if before then
        local ends, position, birth = string.match(before, '^(%d+) (%d+) (%a+)')
        if ends and tonumber(ends) > now and birth == known[9] then answer = 'd' .. position end
      end
    end
    if not answer and ARGV[at + 1] ~= '' and ARGV[at + 1] ~= text(offset) then answer = 'c' .. text(offset) end
    if not answer and ARGV[at + 2] ~= '' then
      entry_version, entry_version_epoch = ARGV[at + 2], ARGV[at + 3]
      if version and entry_version_epoch == version_epoch and entry_version <= version then
        answer = 'c' .. text(offset)
      end
    end
    at = at + 4
  end
  if not answer then
    local position = '0'
    if kind == 's' then
      offset = offset + 1
      cost = cost + tonumber(entry_cost)
      position = text(offset)
      add(position .. '-' .. text(now), entry_cost, bytes)
    end
    if entry_version then version, version_epoch = entry_version, entry_version_epoch end
    if key then
      local ends = text(now + tonumber(ARGV[12]))
      redis.call('SET', key, ends .. ' ' .. position .. ' ' .. known[9], 'PX', ARGV[12])
    end
    answer = position
    told[#told + 1] = position .. ' ' .. #bytes .. '\n'
    told[#told + 1] = bytes
  end
  answers[#answers + 1] = answer
end
local answer
if first + #answers == offset and #answers > 1 then
  answer = '=' .. text(first + 1) .. '+' .. #answers
else
  answer = table.concat(answers, ' ')
end
local change = {own, ARGV[5] .. ' ' .. text(now) .. ' ' .. answer}
local function set(field, value)
  change[#change + 1] = field
  change[#change + 1] = value
end
if version and (version ~= known[6] or version_epoch ~= known[7]) then
  set('v', version)
  set('w', version_epoch)
end
if is_broken then
  begin_epoch(text(first))
  set('z', known[12])
end
if offset ~= first then
  set('o', text(offset))
  set('c', text(cost))
  set('t', ARGV[11])
  if ARGV[8] == 'w' and members ~= '0' and not known[10] then set('f', text(first + 1)) end
  -- What is beyond the bounds. By cost it is looked at only when it can be: z is the cost of all that was there
  -- no more at the last look. What is too old is left out by readers, so it has time.
  local gone = tonumber(known[12] or 0)
  if (cost_max > 0 and cost - gone > cost_max) or (ttl > 0 and math.floor(first / 16) ~= math.floor(offset / 16)) then
    local step, looks = 1, 0
    repeat
      local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', step)
      local from
      for _, each in ipairs(oldest) do
        local entry_offset, written = string.match(each[1], '^(%d+)-(%d+)$')
        local total, own_cost = tonumber(field(each[2], 'c')), tonumber(field(each[2], 'n'))
        if total and own_cost then gone = total - own_cost end  -- otherwise no gateway has appended it
        if not (total and own_cost) or (cost_max > 0 and cost - gone > cost_max) or
            (ttl > 0 and tonumber(written) + ttl <= now) then
          from = tonumber(entry_offset) + 1
          gone = total or gone
        else
          break
        end
      end
      if from then redis.call('XTRIM', KEYS[2], 'MINID', text(from)) end
      looks = looks + 1
      local is_end = not from or #oldest < step or looks > 64  -- the next append goes on
      step = 16
    until is_end
    set('z', text(gone))
  end
  -- The stream lives as long as its publications, at least.
  local life = ttl > 0 and math.min(2 * ttl, lifetime) or lifetime
  local since = now - tonumber(known[11] or 0)
  if first == 0 or is_broken or is_prolonged or known[14] ~= ARGV[11] or (ttl > 0 and (since > ttl / 2 or since < 0)) then
    redis.call('PEXPIRE', KEYS[2], text(life))
    set('y', text(now))
  end
end
redis.call('HSET', KEYS[1], unpack(change))
if #told > 0 then
  announce(ARGV[7], 'a ' .. epoch .. ' ' .. ARGV[8] .. ' ' .. members .. ' ' .. (#told / 2) .. '\n' .. table.concat(told))
end
return {'ok', epoch, text(offset), members, answer}
)lua";

// ARGV: identity, time, new epoch, lifetime.
constexpr std::string_view kTop = R"lua(
local now = time()
local lifetime = tonumber(ARGV[4])
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 'm', 'x')
if not known[1] then
  make(now, lifetime)
  return {'ok', ARGV[3], '0', '0'}
end
if known[3] ~= ARGV[1] then return {'adopt'} end
prolong(now, tonumber(known[5] or 0), lifetime, known[4])
return {'ok', known[1], known[2], known[4] or '0'}
)lua";

// KEYS: hash of each channel. ARGV: identity, time, -, lifetime. Answers ok, then epoch, offset and members
// of each channel; empty ones where `top` has to be asked: it makes, adopts and prolongs.
constexpr std::string_view kTops = R"lua(
local now, lifetime = time(), tonumber(ARGV[4])
local answer = {'ok'}
for i = 1, #KEYS do
  local known = redis.call('HMGET', KEYS[i], 'e', 'o', 'i', 'm', 'x')
  local age = now - tonumber(known[5] or 0)
  local is_so = known[1] and known[3] == ARGV[1] and age >= 0 and age < lifetime / 16
  answer[#answer + 1] = is_so and known[1] or ''
  answer[#answer + 1] = is_so and known[2] or ''
  answer[#answer + 1] = is_so and known[4] or ''
end
return answer
)lua";

// ARGV: identity, time, -, first and last offset, entries and cost at most, 1 for backward. Answers ok,
// epoch, offset, 1 if a maximum cut it short, then offset and bytes of each entry, in the order of reading.
constexpr std::string_view kRead = R"lua(
local now = time()
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i', 't')
if not known[1] then return {'unknown'} end
if known[3] ~= ARGV[1] then return {'adopt'} end
local entries_max, cost_max, is_backward = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local ttl = tonumber(known[4] or 0)
local answer = {'ok', known[1], known[2], '0'}
local from, to = tonumber(ARGV[4]), math.min(tonumber(ARGV[5]), tonumber(known[2]))
local entries, cost = 0, 0
while from <= to do
  local page
  if is_backward then
    page = redis.call('XREVRANGE', KEYS[2], text(to), text(from), 'COUNT', 64)
  else
    page = redis.call('XRANGE', KEYS[2], text(from), text(to), 'COUNT', 64)
  end
  if #page == 0 then break end
  for _, each in ipairs(page) do
    local offset, written = string.match(each[1], '^(%d+)-(%d+)$')
    if ttl > 0 and tonumber(written) + ttl <= now then
      if is_backward then return answer end
    else
      cost = cost + (tonumber(field(each[2], 'n')) or 0)
      if entries >= entries_max or (entries > 0 and cost > cost_max) then
        answer[4] = '1'
        return answer
      end
      entries = entries + 1
      answer[#answer + 1] = offset
      answer[#answer + 1] = field(each[2], 'd') or ''
    end
    if is_backward then to = tonumber(offset) - 1 else from = tonumber(offset) + 1 end
  end
  if #page < 64 then break end
end
return answer
)lua";

// ARGV: identity, -, -, Redis channel.
constexpr std::string_view kRemoveHistory = R"lua(
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'i')
if not known[1] then return {'ok'} end
if known[3] ~= ARGV[1] then return {'adopt'} end
redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
announce(ARGV[4], 'r ' .. known[1] .. ' ' .. known[2])
return {'ok'}
)lua";

struct Text {
  std::string_view name;
  std::string_view body;
  std::string_view prelude = {};  ///< behind the one of all scripts
};
constexpr Text text_of(RedisScript script) {
  switch (script) {
    case RedisScript::adopt:
      return {"adopt", kAdopt};
    case RedisScript::append:
      return {"append", kAppend};
    case RedisScript::top:
      return {"top", kTop};
    case RedisScript::tops:
      return {"tops", kTops};
    case RedisScript::read:
      return {"read", kRead};
    case RedisScript::remove_history:
      return {"remove_history", kRemoveHistory};
    case RedisScript::change_members:
      return {"change_members", redis_member_scripts::kChangeMembers};
    case RedisScript::walk:
      return {"walk", redis_member_scripts::kWalk};
    case RedisScript::walk_step:
      return {"walk_step", redis_member_scripts::kWalkStep};
    case RedisScript::standing:
      return {"standing", redis_member_scripts::kStanding};
    case RedisScript::members:
      return {"members", redis_member_scripts::kMembers};
    case RedisScript::settle_members:
      return {"settle_members", redis_member_scripts::kSettleMembers};
    case RedisScript::user_change:
      return {"user_change", redis_member_scripts::kUserChange, redis_member_scripts::kUserPrelude};
    case RedisScript::user_enter:
      return {"user_enter", redis_member_scripts::kUserEnter, redis_member_scripts::kUserPrelude};
    case RedisScript::user_inbox:
      return {"user_inbox", redis_member_scripts::kUserInbox};
    case RedisScript::user_mark_read:
      return {"user_mark_read", redis_member_scripts::kUserMarkRead, redis_member_scripts::kUserPrelude};
    case RedisScript::presence_change:
      return {"presence_change", redis_presence_scripts::kPresenceChange,
              redis_presence_scripts::kPresencePrelude};
    case RedisScript::presence_counts:
      return {"presence_counts", redis_presence_scripts::kPresenceCounts};
    case RedisScript::presence_clear:
      return {"presence_clear", redis_presence_scripts::kPresenceClear,
              redis_presence_scripts::kPresencePrelude};
    case RedisScript::gateway_beat:
      return {"gateway_beat", redis_presence_scripts::kGatewayBeat};
    case RedisScript::gateway_clear:
      return {"gateway_clear", redis_presence_scripts::kGatewayClear};
    case RedisScript::order:
      return {"order", redis_order_scripts::kOrder};
    case RedisScript::orders_since:
      return {"orders_since", redis_order_scripts::kOrdersSince};
    case RedisScript::count:
      break;
  }
  return {};
}

}  // namespace

std::string redis_script_text(RedisScript script) {
  const Text text = text_of(script);
  return std::string(kPrelude).append(text.prelude).append(text.body);
}

std::string_view redis_script_name(RedisScript script) { return text_of(script).name; }

}  // namespace carillon
