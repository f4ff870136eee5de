#include "store/memory_inboxes.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace carillon {

namespace {
struct ByRoster {
  static std::uint32_t number(std::uint32_t roster) { return roster; }
  static std::uint32_t number(const auto& of_roster) { return of_roster.number(); }
  bool operator()(const auto& left, const auto& right) const { return number(left) < number(right); }
};
}  // namespace

MemoryInboxes::MemoryInboxes(std::size_t inbox_entries, std::size_t bytes_total, const NameHash& hash)
    : inbox_entries_(inbox_entries), bytes_total_(bytes_total), hash_(hash), stripes_(hash) {}
MemoryInboxes::~MemoryInboxes() = default;

/// While it lives, its user may change: the difference is counted.
class MemoryInboxes::Counted {
 public:
  Counted(std::atomic<std::size_t>& bytes, const User& user)
      : bytes_(bytes), user_(user), before_(cost_of(user)) {}
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    const std::size_t after = cost_of(user_);
    if (after != before_) bytes_.fetch_add(after - before_, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::size_t>& bytes_;
  const User& user_;
  const std::size_t before_;
};

std::size_t MemoryInboxes::cost_of(const User& user) {
  static constexpr std::size_t kNodeBytes = sizeof(Users::value_type) + 48;  // with hash, links, allocator
  static constexpr std::size_t kSlotBytes = 16;                              // in a roster that grows
  const std::size_t name = user.name == nullptr || user.name->size() < 16 ? 0 : user.name->size() + 16;
  return kNodeBytes + name + user.memberships.capacity() * (sizeof(Membership) + kSlotBytes) +
         user.runs.capacity() * sizeof(Run);
}

void MemoryInboxes::forget(Stripe& stripe, Users::iterator user) {
  bytes_.fetch_sub(cost_of(user->second), std::memory_order_relaxed);
  users_.fetch_sub(1, std::memory_order_relaxed);
  stripe.users.erase(user);
  // A table does not shrink by itself.
  if (stripe.users.bucket_count() > 64 + 8 * stripe.users.size()) stripe.users.rehash(0);
}

template <typename AnyUser>
auto MemoryInboxes::memberships_of(AnyUser& user, std::uint32_t roster) {
  auto& all = user.memberships;
  const auto [first, last] = std::equal_range(all.begin(), all.end(), roster, ByRoster{});
  return std::span(first, last);
}

// ---- members

std::shared_ptr<MemoryInboxes::Roster> MemoryInboxes::make_roster(std::string channel, Position top) {
  return std::make_shared<Roster>(next_number_.fetch_add(1), std::move(channel), top);
}

std::size_t MemoryInboxes::on_appended(const std::shared_ptr<Roster>& roster, Offset offset,
                                       FanOutMode mode) {
  roster->top_.store(offset);
  if (mode == FanOutMode::read && roster->last_read_mode_.exchange(offset) == 0) start_reading(roster);
  const std::size_t members = roster->count_.load();
  if (mode == FanOutMode::write && members > 0) {
    roster->to_enter_.store(offset);
    const std::lock_guard lock(roster->waiting_mutex_);
    roster->waiting_.add(offset);
    roster->newest_waiting_ = offset;
  }
  return members;
}

void MemoryInboxes::start_reading(const std::shared_ptr<Roster>& roster) {
  const std::unique_lock lock(reading_mutex_);
  std::erase_if(reading_, [](const Reading& known) { return known.roster.expired(); });
  const Reading reading{roster->number_, roster};
  reading_.insert(std::upper_bound(reading_.begin(), reading_.end(), reading, ByRoster{}), reading);
  reading_count_.store(reading_.size());
}

bool MemoryInboxes::add(const std::shared_ptr<Roster>& roster, std::span<const std::string> users) {
  const std::lock_guard lock(roster->mutex_);
  for (const std::string& name : users) {
    const HashedName hashed = hash_.of(name);
    Stripe& stripe = stripes_.of(hashed);
    const std::lock_guard stripe_lock(stripe.mutex);
    const auto found = stripe.users.find(hashed);
    if (found != stripe.users.end()) {
      const auto known = memberships_of(found->second, roster->number_);
      if (!known.empty() && known.back().until == kStill) continue;
    }
    if (is_full()) return false;
    const auto [node, is_new] = stripe.users.try_emplace(name);
    User& user = node->second;
    if (is_new) {  // once: walks over other channels read both without the stripe's lock
      user.name = &node->first;
      user.stripe = static_cast<std::uint32_t>(stripes_.index_of(hashed));
      users_.fetch_add(1, std::memory_order_relaxed);
      bytes_.fetch_add(cost_of(user), std::memory_order_relaxed);
    }
    const Counted counted(bytes_, user);
    Membership membership;
    membership.roster = roster;
    membership.slot = static_cast<std::uint32_t>(roster->members_.size());
    roster->count_.fetch_add(1);
    membership.read = roster->top_.load();
    roster->memberships_.fetch_add(1);
    roster->members_.push_back(&user);
    const auto place =
        std::upper_bound(user.memberships.begin(), user.memberships.end(), roster->number_, ByRoster{});
    user.memberships.insert(place, std::move(membership));
  }
  return true;
}

void MemoryInboxes::remove(Roster& roster, std::span<const std::string> users) {
  const std::lock_guard lock(roster.mutex_);
  for (const std::string& name : users) {
    std::uint32_t slot = 0;
    {
      const HashedName hashed = hash_.of(name);
      Stripe& stripe = stripes_.of(hashed);
      const std::lock_guard stripe_lock(stripe.mutex);
      const auto found = stripe.users.find(hashed);
      if (found == stripe.users.end()) continue;
      User& user = found->second;
      const auto known = memberships_of(user, roster.number_);
      if (known.empty() || known.back().until != kStill) continue;
      slot = known.back().slot;
      {
        const Counted counted(bytes_, user);
        close(user, roster);
      }
      if (user.memberships.empty()) forget(stripe, found);
    }
    free_slot(roster, slot);  // without the lock: those who move have locks of their own
    roster.count_.fetch_sub(1);
  }
}

void MemoryInboxes::close(User& user, Roster& roster) {
  Membership& membership = memberships_of(user, roster.number_).back();
  membership.until = roster.top_.load();
  if (membership.read >= membership.until) {
    erase(user, static_cast<std::size_t>(&membership - user.memberships.data()));
    return;
  }
  user.has_merged = true;
  forget_oldest_removed(user);
}

void MemoryInboxes::forget_oldest_removed(User& user) const {
  const auto is_left = [](const Membership& membership) { return membership.until != kStill; };
  const auto left =
      static_cast<std::size_t>(std::count_if(user.memberships.begin(), user.memberships.end(), is_left));
  if (left == 0 || (left <= std::max<std::size_t>(1, inbox_entries_) && !is_full())) return;
  const auto oldest = std::find_if(user.memberships.begin(), user.memberships.end(), is_left);
  take_out(user, oldest->roster->number_, oldest->read + 1, oldest->until);
  erase(user, static_cast<std::size_t>(oldest - user.memberships.begin()));
  user.is_incomplete = true;
}

void MemoryInboxes::erase(User& user, std::size_t membership) {
  const auto place = user.memberships.begin() + static_cast<std::ptrdiff_t>(membership);
  place->roster->memberships_.fetch_sub(1);
  user.memberships.erase(place);
}

void MemoryInboxes::move_slot(Roster& roster, std::size_t from, std::size_t to) {
  if (from == to) return;
  User& user = *roster.members_[from];
  const std::lock_guard stripe_lock(stripes_[user.stripe].mutex);
  roster.members_[to] = &user;
  memberships_of(user, roster.number_).back().slot = static_cast<std::uint32_t>(to);
}

void MemoryInboxes::free_slot(Roster& roster, std::size_t slot) {
  std::size_t hole = slot;
  if (hole < roster.walked_) {  // the last of those who have it moves here, and its place is the hole
    --roster.walked_;
    move_slot(roster, roster.walked_, hole);
    hole = roster.walked_;
  }
  move_slot(roster, roster.members_.size() - 1, hole);
  roster.members_.pop_back();
  if (roster.members_.capacity() > 64 + 4 * roster.members_.size()) roster.members_.shrink_to_fit();
}

std::vector<std::string> MemoryInboxes::members(const Roster& roster, std::string_view after,
                                                std::size_t limit) {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(roster.mutex_);
    for (const User* user : roster.members_) {
      if (*user->name > after) names.push_back(*user->name);
    }
  }
  const std::size_t kept = std::min(limit, names.size());
  std::partial_sort(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(kept), names.end());
  names.resize(kept);
  return names;
}

// ---- entering

EnterStep MemoryInboxes::enter(Roster& roster, std::size_t members_max) {
  const std::lock_guard lock(roster.mutex_);
  if (roster.walk_.is_empty()) {
    const std::lock_guard waiting_lock(roster.waiting_mutex_);
    if (!roster.waiting_.is_empty()) roster.walk_ = roster.waiting_.take_first();
    roster.walked_ = 0;
  }
  EnterStep step;
  if (!roster.walk_.is_empty()) {
    std::size_t members = 0;
    for (; members < members_max && roster.walked_ < roster.members_.size(); ++members) {
      User& user = *roster.members_[roster.walked_++];
      const std::lock_guard stripe_lock(stripes_[user.stripe].mutex);
      const Counted counted(bytes_, user);
      enter(user, roster, roster.walk_.first, roster.walk_.last);
      shorten(user);
    }
    step.entered = members * (roster.walk_.last + 1 - roster.walk_.first);
    if (roster.walked_ == roster.members_.size()) {
      roster.entered_ = roster.walk_.last;
      roster.walk_ = {};
      roster.walked_ = 0;
    }
  }
  const std::lock_guard waiting_lock(roster.waiting_mutex_);
  if (!roster.walk_.is_empty()) {
    step.entered_to = roster.walk_.first - 1;
  } else if (!roster.waiting_.is_empty()) {
    step.entered_to = roster.waiting_.hull().first - 1;
  } else {
    step.is_done = true;
    step.entered_to = roster.newest_waiting_;
  }
  return step;
}

void MemoryInboxes::enter(User& user, const Roster& roster, Offset first, Offset last) const {
  // Only for as long as the user has been back: what an earlier membership lacks is merged.
  Membership& membership = memberships_of(user, roster.number_).back();
  const Offset from = std::max(first, membership.read + 1);
  if (from > last) return;
  const auto count = static_cast<std::uint32_t>(last + 1 - from);
  user.entered += count;
  if (user.begin < user.runs.size()) {
    Run& newest = user.runs.back();
    if (newest.roster == roster.number_ && newest.end() == from) {
      newest.count += count;
      return;
    }
  }
  if (is_full() && user.runs.size() == user.runs.capacity()) {
    user.entered -= count;
    membership.merged_to = std::max(membership.merged_to, last);
    user.has_merged = true;
    return;
  }
  user.runs.push_back({from, count, roster.number_});
}

void MemoryInboxes::shorten(User& user) const {
  while (user.entered > inbox_entries_) {
    Run& oldest = user.runs[user.begin];
    const auto out =
        static_cast<std::uint32_t>(std::min<std::size_t>(oldest.count, user.entered - inbox_entries_));
    oldest.first += out;
    oldest.count -= out;
    user.entered -= out;
    for (Membership& membership : memberships_of(user, oldest.roster)) {
      if (membership.read < oldest.first - 1)
        membership.merged_to = std::max(membership.merged_to, std::min(oldest.first - 1, membership.until));
    }
    user.has_merged = true;
    if (oldest.count == 0) ++user.begin;
  }
  if (user.begin > 0 && 2 * user.begin >= user.runs.size()) {
    user.runs.erase(user.runs.begin(), user.runs.begin() + static_cast<std::ptrdiff_t>(user.begin));
    user.begin = 0;
  }
}

void MemoryInboxes::take_out(User& user, std::uint32_t roster, Offset first, Offset last) {
  std::vector<Run> kept;
  user.entered = 0;
  for (std::size_t i = user.begin; i < user.runs.size(); ++i) {
    const Run& run = user.runs[i];
    const auto keep = [&](Offset from, Offset end) {
      if (from >= end) return;
      kept.push_back({from, static_cast<std::uint32_t>(end - from), run.roster});
      user.entered += kept.back().count;
    };
    if (run.roster != roster || run.first > last || run.end() <= first) {
      keep(run.first, run.end());
    } else {
      keep(run.first, first);
      keep(last + 1, run.end());
    }
  }
  user.runs = std::move(kept);
  user.begin = 0;
}

// ---- reading

std::optional<MemoryInboxes::Visit> MemoryInboxes::visit_of(const Membership& membership) {
  const Roster& roster = *membership.roster;
  if (!membership.is_merged() && roster.last_read_mode_.load() <= membership.read) return std::nullopt;
  const Offset last = std::min(membership.until, roster.top_.load());
  if (last <= membership.read) return std::nullopt;
  return Visit{&membership, membership.read + 1, last, {}};
}

std::vector<MemoryInboxes::Visit> MemoryInboxes::visits_of(const User& user) const {
  std::vector<Visit> visits;
  const auto visit = [&visits](const Membership& membership) {
    if (auto found = visit_of(membership)) visits.push_back(std::move(*found));
  };
  const std::size_t reading = reading_count_.load();
  if (user.has_merged || user.memberships.size() <= reading) {
    for (const Membership& membership : user.memberships) visit(membership);
  } else if (reading > 0) {  // a user of many channels, few of which anybody has to read
    for (const Reading& known : reading_) {
      const std::shared_ptr<Roster> roster = known.roster.lock();
      if (!roster) continue;
      for (const Membership& membership : memberships_of(user, roster->number_)) visit(membership);
    }
  }
  return visits;
}

std::uint64_t MemoryInboxes::unread(std::string_view name, const Roster& roster) const {
  const HashedName hashed = hash_.of(name);
  const Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.users.find(hashed);
  if (found == stripe.users.end()) return 0;
  const User& user = found->second;
  // Where something is merged, all behind the read position is unread, in runs or not.
  std::uint64_t count = 0;
  const auto memberships = memberships_of(user, roster.number_);
  std::vector<std::pair<Offset, Offset>> counted;
  for (const Membership& membership : memberships) {
    if (const auto visit = visit_of(membership)) {
      count += visit->last + 1 - visit->next;
      counted.emplace_back(visit->next, visit->last);
    }
  }
  for (std::size_t i = user.begin; i < user.runs.size(); ++i) {
    const Run& run = user.runs[i];
    if (run.roster != roster.number_) continue;
    count += run.count;
    for (const auto& [first, last] : counted) {  // a run may reach over several memberships
      const Offset begin = std::max(run.first, first);
      const Offset end = std::min(run.end(), last + 1);
      if (begin < end) count -= end - begin;
    }
  }
  return count;
}

InboxContent MemoryInboxes::inbox(std::string_view name, std::size_t limit) const {
  InboxContent content;
  const std::shared_lock reading_lock(reading_mutex_);
  const HashedName hashed = hash_.of(name);
  const Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.users.find(hashed);
  if (found == stripe.users.end()) return content;
  const User& user = found->second;
  content.is_incomplete = user.is_incomplete;

  struct Sum {
    const Roster* roster = nullptr;
    std::uint64_t unread = 0;
    Offset left_out = kStill;  // the first that there was no room for
  };
  std::map<std::uint32_t, Sum> sums;
  const auto range_of = [](const Roster& roster, Offset first, Offset last) {
    return InboxRange{roster.channel_, roster.epoch_, first, last};
  };
  std::vector<Visit> visits = visits_of(user);
  const auto leave_out = [&](Visit& visit, Offset first, Offset end) {
    if (first > visit.next && visit.next <= visit.last)
      visit.ranges.emplace_back(visit.next, std::min(first - 1, visit.last));
    visit.next = std::max(visit.next, end);
  };
  std::size_t room = limit;
  for (std::size_t i = user.begin; i < user.runs.size(); ++i) {
    const Run& run = user.runs[i];
    Sum& sum = sums[run.roster];
    if (sum.roster == nullptr) sum.roster = memberships_of(user, run.roster).front().roster.get();
    sum.unread += run.count;
    const std::size_t count = std::min<std::size_t>(room, run.count);
    if (count > 0) content.entered.push_back(range_of(*sum.roster, run.first, run.first + count - 1));
    if (count < run.count) sum.left_out = std::min(sum.left_out, run.first + count);
    room -= count;
    const auto [first, last] = std::equal_range(visits.begin(), visits.end(), run.roster, ByRoster{});
    for (auto visit = first; visit != last; ++visit) leave_out(*visit, run.first, run.end());
  }
  for (Visit& visit : visits) {
    leave_out(visit, visit.last + 1, visit.last + 1);
    Sum& sum = sums[visit.number()];
    sum.roster = visit.membership->roster.get();
    for (const auto& [first, last] : visit.ranges) {
      sum.unread += last + 1 - first;
      if (limit > 0 && first < sum.left_out) content.merged.push_back(range_of(*sum.roster, first, last));
    }
  }
  content.unread.reserve(sums.size());
  for (const auto& [number, sum] : sums) {
    if (sum.unread > 0) content.unread.emplace_back(sum.roster->channel_, sum.unread);
  }
  return content;
}

void MemoryInboxes::mark_read(std::string_view name, const Roster& roster, Offset offset) {
  const HashedName hashed = hash_.of(name);
  Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.users.find(hashed);
  if (found == stripe.users.end()) return;
  User& user = found->second;
  {
    const Counted counted(bytes_, user);
    for (std::size_t i = 0; i < user.memberships.size();) {
      Membership& membership = user.memberships[i];
      if (membership.number() == roster.number_)
        membership.read = std::max(membership.read, std::min(offset, membership.until));
      if (membership.read >= membership.until) {
        erase(user, i);
      } else {
        ++i;
      }
    }
    take_out(user, roster.number_, 0, offset);
    user.has_merged = std::any_of(user.memberships.begin(), user.memberships.end(),
                                  [](const Membership& membership) { return membership.is_merged(); });
    user.is_incomplete = false;
  }
  if (user.memberships.empty()) forget(stripe, found);
}

// ---- written down

MemoryInboxes::Standing MemoryInboxes::standing(std::string_view name, std::string_view channel) const {
  Standing standing;
  const HashedName hashed = hash_.of(name);
  const Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.users.find(hashed);
  if (found == stripe.users.end()) return standing;
  standing.is_incomplete = found->second.is_incomplete;
  for (const Membership& each : found->second.memberships) {
    if (!standing.is_incomplete && each.roster->channel_ != channel) continue;
    standing.memberships.push_back({each.roster->channel_, each.read, std::nullopt});
    if (each.until != kStill) standing.memberships.back().until = each.until;
  }
  return standing;
}

MemoryInboxesState MemoryInboxes::save() const {
  MemoryInboxesState state;
  std::map<std::uint32_t, std::uint32_t> indices;
  const auto index_of = [&](const Roster& roster) {
    const auto [known, is_new] =
        indices.try_emplace(roster.number_, static_cast<std::uint32_t>(state.rosters.size()));
    if (is_new) state.rosters.push_back({roster.channel_, roster.last_read_mode_.load()});
    return known->second;
  };
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, user] : stripe.users) {
      MemoryInboxesState::User& saved = state.users.emplace_back();
      saved.name = name;
      saved.is_incomplete = user.is_incomplete;
      for (const Membership& membership : user.memberships) {
        const Roster& roster = *membership.roster;
        const Offset to_enter = roster.to_enter_.load();
        const Offset merged_to =
            to_enter > roster.entered_ ? std::max(membership.merged_to, to_enter) : membership.merged_to;
        saved.memberships.push_back({index_of(roster), membership.read, membership.until, merged_to});
      }
      for (std::size_t i = user.begin; i < user.runs.size(); ++i)
        saved.runs.push_back({indices.at(user.runs[i].roster), user.runs[i].first, user.runs[i].count});
    }
  }
  return state;
}

void MemoryInboxes::restore(const MemoryInboxesState& state,
                            const std::function<std::shared_ptr<Roster>(const std::string&)>& roster_of) {
  std::vector<std::shared_ptr<Roster>> rosters;
  for (const MemoryInboxesState::Roster& saved : state.rosters) {
    rosters.push_back(roster_of(saved.channel));
    rosters.back()->last_read_mode_ = saved.last_read_mode;
    if (saved.last_read_mode > 0) start_reading(rosters.back());
  }
  for (const MemoryInboxesState::User& saved : state.users) {
    const std::size_t number = stripes_.index_of(hash_.of(saved.name));
    const auto node = stripes_[number].users.try_emplace(saved.name).first;
    User& user = node->second;
    user.name = &node->first;
    user.stripe = static_cast<std::uint32_t>(number);
    user.is_incomplete = saved.is_incomplete;
    for (const MemoryInboxesState::Membership& each : saved.memberships) {
      const std::shared_ptr<Roster>& roster = rosters.at(each.roster);
      Membership membership{roster, each.read, each.until, each.merged_to, 0};
      roster->memberships_.fetch_add(1);
      if (each.until == kStill) {
        membership.slot = static_cast<std::uint32_t>(roster->members_.size());
        roster->members_.push_back(&user);
        roster->count_.fetch_add(1);
      }
      user.has_merged = user.has_merged || membership.is_merged();
      user.memberships.push_back(std::move(membership));
    }
    std::stable_sort(user.memberships.begin(), user.memberships.end(), ByRoster{});
    for (const MemoryInboxesState::Run& run : saved.runs) {
      user.runs.push_back({run.first, run.count, rosters.at(run.roster)->number_});
      user.entered += run.count;
    }
    users_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(cost_of(user), std::memory_order_relaxed);
  }
}

}  // namespace carillon
