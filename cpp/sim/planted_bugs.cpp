#include "sim/planted_bugs.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "store/redis/redis_scripts.hpp"

namespace carillon::sim {

namespace {

constexpr PlantedBug kBugs[] = {
    {"epoch_not_bumped", "a channel keeps its epoch under a primary that may have lost its end",
     "if ARGV[4] ~= '1' then begin_epoch(known[3]) end", ""},
    {"append_adopts_nothing", "an append does not look at the primary's identity",
     "elseif known[3] ~= ARGV[1] then\n  return {'adopt'}", "elseif false then\n  return {'adopt'}"},
    {"top_adopts_nothing", "a look at the top does not look at the primary's identity",
     "if known[3] ~= ARGV[1] then return {'adopt'} end\nprolong", "prolong"},
    {"read_adopts_nothing", "a read does not look at the primary's identity",
     "if known[3] ~= ARGV[1] then return {'adopt'} end\nlocal entries_max", "local entries_max"},
    {"tops_look_at_no_identity", "a look at many tops takes those of a lost log for new ones",
     "local is_so = known[1] and known[3] == ARGV[1]", "local is_so = known[1]"},
    {"retried_group_appended_again", "a group that is sent again is appended again",
     "if tonumber(number) == tonumber(ARGV[5]) then return {'ok', epoch, text(first), members, answer} end",
     ""},
    {"late_group_appended", "a group that comes late, over a link that is gone, is appended",
     "if tonumber(number) > tonumber(ARGV[5]) then return {'late'} end", ""},
    {"flipped_fence", "groups are taken in the wrong order", "if tonumber(number) > tonumber(ARGV[5])",
     "if tonumber(number) < tonumber(ARGV[5])"},
    {"key_not_looked_up", "a publication with a known idempotency key is appended again",
     "if ends and tonumber(ends) > now", "if false and tonumber(ends) > now"},
    {"key_not_written", "no idempotency key is kept", "redis.call('SET', key, ends", "text(0, key, ends"},
    {"top_one_too_low", "the channel remembers a top that is one too low", "set('o', text(offset))",
     "set('o', text(offset - 1))"},
    {"single_not_announced", "an append of one publication is announced to nobody", "if #told > 0 then",
     "if #told > 2 then"},
    {"announced_one_too_high", "announcements have the next offset", "told[#told + 1] = position .. ' '",
     "told[#told + 1] = text(offset + 1) .. ' '"},
    {"trimmed_one_too_many", "the history is one publication too short", "'MAXLEN', ARGV[9], id",
     "'MAXLEN', ARGV[9] - 1, id", 0, true},
    {"read_begins_one_late", "a read leaves its first publication out", "local from, to = tonumber(ARGV[4])",
     "local from, to = tonumber(ARGV[4]) + 1"},
    {"read_ends_one_early", "a read leaves its last publication out",
     "math.min(tonumber(ARGV[5]), tonumber(known[2]))",
     "math.min(tonumber(ARGV[5]), tonumber(known[2]) - 1)"},
    {"read_in_another_epoch", "a read answers an epoch that nobody knows",
     "local answer = {'ok', known[1], known[2], '0'}", "local answer = {'ok', ARGV[3], known[2], '0'}"},
    {"same_epoch_after_a_loss", "a channel that was lost begins with the same epoch as every other",
     "'e', ARGV[3], 'b', ARGV[3], 'o', 0", "'e', 'AAAAAAAA', 'b', 'AAAAAAAA', 'o', 0"},
    {"group_answered_one_too_low", "publishers are answered the offset before theirs",
     "answer = '=' .. text(first + 1)", "answer = '=' .. text(first)"},
    {"single_answered_one_too_high", "a publisher is answered the offset after its own",
     "    answer = position\n", "    answer = kind == 's' and text(offset + 1) or position\n"},
    {"presence_not_removed", "who leaves stays present", "if known and string.find(ARGV[5]",
     "if false and string.find(ARGV[5]"},
    {"presence_of_the_dead_kept", "the clients of a gateway that has died stay present",
     "if gateway == ARGV[4] then take_out(entry, user) end", ""},
    {"late_presence_added", "who comes late, behind the clearing, stays present for ever",
     "  elseif is_late then\n    answer = 'late'\n", ""},
    {"lost_announcement", "one announcement in three gets lost on a link that is well", "", "", 3},
    // Members and inboxes.
    {"walk_not_released", "a walk belongs to the gateway that began it, also when that has died",
     "tonumber(walk[4]) > now and not string.find(ARGV[7], ' ' .. walk[3] .. ' ', 1, true)", "true", 0, false,
     true},
    {"walk_ends_after_one_page", "a walk ends behind its first page of members",
     "local is_last = #page <= limit", "local is_last = true", 0, false, true},
    {"walk_tells_one_too_many", "a publisher is answered before all inboxes have its publication",
     "if walk[1] then return {'more', text(tonumber(walk[1]) - 1)} end",
     "if walk[1] then return {'more', walk[1]} end", 0, false, true},
    {"held_walk_tells_one_too_many", "a publisher is answered before the walk of another gateway is over",
     "return {'held', text(tonumber(walk[1]) - 1)", "return {'held', walk[2]", 0, false, true},
    {"lost_walk_is_done", "a gateway that has lost its walk takes it for done", "return {'lost'}",
     "return {'done', known[2]}", 0, false, true},
    {"walk_of_a_lost_log", "a walk goes on in the log of the next epoch",
     "if walk[6] and walk[6] ~= known[1] then", "if false then", 0, false, true},
    {"entered_again", "an inbox gets a publication again when the walk is taken over",
     "math.max(tonumber(ARGV[10]), newest.read + 1, newest.entered + 1)",
     "math.max(tonumber(ARGV[10]), newest.read + 1)", 0, false, true},
    {"change_of_member_not_noted", "a change of members is lost with the gateway that makes it",
     "redis.call('HSET', KEYS[4], user, pending)", "", 0, false, true},
    {"position_of_a_lost_log", "who had read far in a log that was lost has read as far in the next one",
     "if noted >= began then return nil end", "if true then return nil end", 0, false, true},
    {"read_position_moves_back", "marking as read moves the position back",
     "each.read = math.max(each.read, offset)", "each.read = offset", 0, false, true},
    // SQLite: what its store relies on.
    {"sync_writes_nothing", "an fsync writes nothing to the disk", "", "", 0, false, false, "full",
     SimulatedDisk::Bug::sync_writes_nothing},
    {"sync_error_hidden", "the store does not see that an fsync has failed", "", "", 0, false, false, "full",
     SimulatedDisk::Bug::sync_error_hidden},
    {"boot_not_noticed", "a loss of power is taken for the end of a process", "", "", 0, false, false,
     "normal", SimulatedDisk::Bug::boot_not_noticed},
};

}  // namespace

std::span<const PlantedBug> planted_bugs() { return kBugs; }

const PlantedBug* planted_bug(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kBugs), std::end(kBugs),
                                         [&](const PlantedBug& bug) { return bug.name == name; });
  return found == std::end(kBugs) ? nullptr : found;
}

bool is_in_a_script(const PlantedBug& bug) {
  for (std::size_t i = 0; i < kRedisScripts; ++i) {
    if (redis_script_text(static_cast<RedisScript>(i)).find(bug.script_text) != std::string::npos)
      return true;
  }
  return false;
}

std::string with_bug(const PlantedBug& bug, std::string script) {
  if (bug.script_text.empty()) return script;
  const std::size_t at = script.find(bug.script_text);
  if (at != std::string::npos) script.replace(at, bug.script_text.size(), bug.replacement);
  return script;
}

}  // namespace carillon::sim
