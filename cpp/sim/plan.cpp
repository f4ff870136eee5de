#include "sim/plan.hpp"

#include <algorithm>
#include <array>

#include "sim/chance.hpp"

namespace carillon::sim {

namespace {

constexpr std::array<std::string_view, kHappenings> kNames{
    "publish",
    "client leaves",
    "client is cut",
    "client is cut off",
    "client is slow",
    "client vanishes",
    "gateway crashes",
    "gateway is replaced",
    "gateway is taken over",
    "gateway is stopped",
    "clock jumps",
    "redis link is cut",
    "redis links are cut",
    "redis is cut off",
    "redis is slow",
    "redis fails over",
    "redis restarts",
    "redis disk is full",
    "redis forgets",
    "member joins",
    "member leaves",
    "inbox is read",
    "power is cut",
    "disk is full",
    "disk fails",
    "disk is slow",
    "gateway crashes at disk",
};
// What is drawn from the first stream; what came later has streams of its own, so that seeds keep their acts.
constexpr auto kLastFault = static_cast<std::int64_t>(Happening::redis_forgets);

bool is_of_clients(Happening what) {
  return what >= Happening::client_leaves && what <= Happening::client_vanishes;
}
bool is_of_redis(Happening what) {
  return what >= Happening::redis_link_is_cut && what <= Happening::redis_forgets;
}
bool loses(Happening what) {
  return what == Happening::redis_fails_over || what == Happening::redis_restarts ||
         what == Happening::redis_forgets;
}

Act fault(Chance& chance, const WorldOptions& options) {
  Act act;
  do {
    act.what = static_cast<Happening>(chance.between(1, kLastFault));
  } while ((!options.has_redis && is_of_redis(act.what)) || (!options.may_lose && loses(act.what)));
  act.target =
      static_cast<std::size_t>(chance.below(is_of_clients(act.what)                ? options.clients
                                            : act.what == Happening::redis_forgets ? options.channels
                                                                                   : options.gateways));
  // Mostly short; sometimes so long that timeouts of the other side are over first.
  act.us = chance.percent(70) ? chance.between(1'000, 800'000) : chance.between(800'000, 9'000'000);
  act.count = static_cast<std::size_t>(chance.percent(30) ? 0 : chance.between(1, 30));
  if (act.what == Happening::redis_fails_over && chance.percent(40)) act.us = 0;
  if (act.what == Happening::clock_jumps) act.us = chance.between(-3'600, 3'600) * 1'000'000;
  return act;
}

bool is_earlier(const Act& a, const Act& b) { return a.at_us < b.at_us; }

/// What members do: they read their inboxes, some join late, some leave.
void add_acts_of_members(std::vector<Act>& acts, const WorldOptions& options) {
  Chance chance(options.seed, "plan of members");
  constexpr std::size_t kActsOfMember = 4;
  for (std::size_t i = 0; i < options.members * kActsOfMember; ++i) {
    Act act;
    act.what = chance.percent(60)   ? Happening::inbox_is_read
               : chance.percent(60) ? Happening::member_joins
                                    : Happening::member_leaves;
    act.target = static_cast<std::size_t>(chance.below(options.members * options.channels));
    act.at_us = chance.between(0, options.duration_ms * 1'000);
    if (act.what == Happening::inbox_is_read)
      act.count = static_cast<std::size_t>(chance.percent(50) ? chance.between(1, 5) : 100);
    acts.push_back(act);
  }
}

/// What happens to the disk: as much as happens to all others.
void add_acts_of_disk(std::vector<Act>& acts, const WorldOptions& options) {
  Chance chance(options.seed, "plan of disk");
  constexpr std::int64_t kFirst = static_cast<std::int64_t>(Happening::power_is_cut);
  constexpr std::int64_t kLast = static_cast<std::int64_t>(Happening::gateway_crashes_at_disk);
  const Micros end_us = options.duration_ms * 1'000;
  const std::size_t others = acts.size();
  for (std::size_t i = 0; i < options.faults; ++i) {
    Act act;
    act.what = static_cast<Happening>(chance.between(kFirst, kLast));
    const Micros near_us = others == 0 ? 0 : acts[chance.below(others)].at_us;
    act.at_us = chance.percent(70) ? near_us + chance.between(-20'000, 40'000) : chance.between(0, end_us);
    act.at_us = std::clamp<Micros>(act.at_us, 0, end_us);
    act.us = chance.percent(70) ? chance.between(1'000, 800'000) : chance.between(800'000, 9'000'000);
    act.us = std::min(act.us, std::max<Micros>(1'000, end_us - act.at_us));
    if (act.what == Happening::gateway_crashes_at_disk)
      act.count = static_cast<std::size_t>(chance.between(0, 40));
    acts.push_back(act);
  }
}

}  // namespace

std::string_view name_of(Happening happening) { return kNames[static_cast<std::size_t>(happening)]; }

std::string text_of(const Act& act) {
  std::string text = '#' + std::to_string(act.number) + ' ';
  text.append(name_of(act.what)).append(" target=").append(std::to_string(act.target));
  if (act.us != 0) text.append(" us=").append(std::to_string(act.us));
  if (act.count != 0) text.append(" count=").append(std::to_string(act.count));
  return text;
}

std::vector<Act> plan_of(const WorldOptions& options) {
  Chance chance(options.seed, "plan");
  std::vector<Act> acts;
  // Publications come in bursts, so that many are under way when something breaks.
  const Micros end_us = options.duration_ms * 1'000;
  Micros burst_us = chance.between(0, end_us);
  for (std::size_t i = 0; i < options.publications; ++i) {
    if (chance.percent(15)) burst_us = chance.between(0, end_us);
    Act act;
    act.at_us = burst_us + chance.between(0, 30'000);
    act.target = static_cast<std::size_t>(chance.below(options.channels));
    act.count = chance.percent(25) ? 2 : chance.percent(50) ? 1 : 0;
    acts.push_back(act);
  }
  for (std::size_t i = 0; i < options.faults; ++i) {
    Act act = fault(chance, options);
    // Near a publication, more often than not.
    act.at_us = chance.percent(60) && !acts.empty()
                    ? acts[chance.below(options.publications)].at_us + chance.between(-20'000, 40'000)
                    : chance.between(0, end_us);
    act.at_us = std::clamp<Micros>(act.at_us, 0, end_us);
    // It is over when the acts are, so that all is calm soon afterwards.
    if (act.what != Happening::clock_jumps)
      act.us = std::min(act.us, std::max<Micros>(1'000, end_us - act.at_us));
    acts.push_back(act);
  }
  std::stable_sort(acts.begin(), acts.end(), is_earlier);
  add_acts_of_members(acts, options);
  if (!options.sqlite.empty()) add_acts_of_disk(acts, options);
  for (std::size_t i = 0; i < acts.size(); ++i) acts[i].number = i;
  std::stable_sort(acts.begin(), acts.end(), is_earlier);
  if (!options.only.empty()) {
    std::erase_if(acts, [&](const Act& act) {
      return std::find(options.only.begin(), options.only.end(), act.number) == options.only.end();
    });
  }
  return acts;
}

}  // namespace carillon::sim
