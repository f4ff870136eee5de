#include "hub/journal.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace carillon {

void Truth::on_announced(const Epoch& of, const Entry& entry, Millis now_ms) {
  if (epoch != of) {
    epoch = of;
    lines.clear();
    top = 0;
    removed_to = 0;
  }
  if (is_exact && entry.is_stored()) {
    EXPECT_EQ(entry.offset, top + 1) << name;
  }
  top = std::max(top, entry.offset);
  lines.push_back({entry.publication.data + entry.publication.info_json, entry.kind, entry.offset, now_ms,
                   entry.cost_bytes()});
  expect_same(of, entry);
}

void Truth::expect_same(const Epoch& of, const Entry& entry) {
  if (!entry.is_stored()) return;
  const auto [known, is_new] =
      stored_.try_emplace({std::string(of.text()), entry.offset}, entry.publication.data);
  EXPECT_EQ(known->second, entry.publication.data)
      << name << " has two publications at offset " << entry.offset;
}

std::size_t Truth::index_after(Offset offset) const {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].offset > offset) return i;
  }
  return lines.size();
}

Offset Truth::history_from(Millis now_ms) const {
  if (!options.has_history()) return top + 1;
  Offset from = top + 1;
  std::size_t bytes = 0;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (line->offset == 0) continue;
    bytes += line->cost_bytes;
    if (line->offset <= removed_to || top - line->offset >= options.history_size ||
        bytes > options.history_bytes || line->announced_ms + options.history_ttl_ms <= now_ms) {
      break;
    }
    from = line->offset;
  }
  return from;
}

bool Truth::holds_all_after(Offset offset, Millis now_ms) const {
  return offset <= top && offset + 1 >= history_from(now_ms);
}

Offset Journal::expected_start(const SubscribeOutcome& outcome, const std::optional<Since>& since,
                               Millis now_ms) const {
  if (!since || !truth_.options.has_history()) return outcome.top;
  const bool is_ahead = since->accepts(outcome.start.epoch) && since->offset > outcome.top;
  if (since->is_position() && (is_ahead || !since->takes_what_is_kept)) return outcome.top;
  Offset kept = 0;
  if (truth_.is_exact && truth_.epoch == outcome.start.epoch) kept = truth_.history_from(now_ms) - 1;
  if (since->kind != Since::Kind::last) return kept;
  return std::max(kept, outcome.top - std::min<Offset>(outcome.top, since->count));
}

void Journal::start(const SubscribeOutcome& outcome, const std::optional<Since>& since, Millis now_ms) {
  const ChannelOptions& options = truth_.options;
  EXPECT_EQ(outcome.error, StoreError::none);
  const bool is_position = since && since->is_position();
  const bool is_oldest = since && since->kind == Since::Kind::oldest;
  EXPECT_EQ(outcome.was_recovering, is_position || (is_oldest && options.has_history()));
  EXPECT_EQ(outcome.has_history, options.has_history());
  EXPECT_TRUE(outcome.start.epoch.is_set());
  EXPECT_LE(outcome.start.offset, outcome.top);
  if (outcome.is_recovered) {
    EXPECT_TRUE(since && since->accepts(outcome.start.epoch)) << "recovered in a foreign epoch";
    EXPECT_EQ(outcome.start.offset, since ? since->offset : 0);
  } else {
    EXPECT_FALSE(is_oldest && options.has_history() && outcome.start.offset == 0) << "it has the beginning";
  }
  const Offset start = expected_start(outcome, since, now_ms);
  if (truth_.is_exact && !truth_.may_be_relieved) {
    EXPECT_EQ(outcome.start.offset, outcome.is_recovered ? since->offset : start);
  } else if (!outcome.is_recovered) {
    EXPECT_GE(outcome.start.offset, start);
  }
  epoch_ = outcome.start.epoch;
  offset_ = told_to_ = outcome.start.offset;
  ephemeral_seen_.clear();
  if (!truth_.is_exact) return;
  if (truth_.epoch != epoch_) {  // first touched, or forgotten meanwhile: a new life without a publication
    EXPECT_EQ(outcome.top, 0U);
    truth_.epoch = epoch_;
    truth_.lines.clear();
    truth_.top = truth_.removed_to = 0;
  }
  EXPECT_EQ(outcome.top, truth_.top);
  next_ = truth_.lines.size();
  if (offset_ < truth_.top) next_ = truth_.index_after(offset_);
  start_ = next_;
  if (is_position) {
    const bool must_recover =
        options.has_history() && since->accepts(epoch_) && truth_.holds_all_after(since->offset, now_ms);
    EXPECT_TRUE(outcome.is_recovered == must_recover || (truth_.may_be_relieved && !outcome.is_recovered))
        << truth_.name << " after " << since->offset << " top " << truth_.top << " from "
        << truth_.history_from(now_ms);
  }
}

void Journal::pass_over(const Truth::Line& line) {
  if (line.offset == 0) return;
  EXPECT_LE(line.offset, told_to_) << truth_.name << ": publication " << line.offset
                                   << " is missing, and nobody said so";
}

void Journal::take(const Entry& entry) {
  const std::string data = entry.publication.data + entry.publication.info_json;
  truth_.expect_same(epoch_, entry);
  if (entry.is_stored()) {
    EXPECT_EQ(entry.offset, std::max(offset_, told_to_) + 1)
        << truth_.name << ": gap, duplicate or reorder at " << data;
    offset_ = entry.offset;
  } else {
    EXPECT_EQ(++ephemeral_seen_[data], 1U) << truth_.name << ": twice " << data;
  }
  if (!truth_.is_exact) return;
  while (next_ < truth_.lines.size() && truth_.lines[next_].data != data) pass_over(truth_.lines[next_++]);
  if (next_ == truth_.lines.size()) {
    ADD_FAILURE() << truth_.name << ": out of order or never published: " << data;
    return;
  }
  EXPECT_EQ(truth_.lines[next_].offset, entry.offset);
  EXPECT_EQ(truth_.lines[next_].kind, entry.kind);
  ++next_;
}

void Journal::gap(const Gap& gap) {
  EXPECT_TRUE(gap.is_skip || truth_.may_lose || truth_.was_removed || gap.position.epoch != epoch_)
      << truth_.name << ": the store has " << gap.lost_from << " to " << gap.lost_to;
  if (gap.position.epoch != epoch_) {
    EXPECT_FALSE(truth_.is_exact) << "the store holds the channel: its epoch cannot change";
    epoch_ = gap.position.epoch;
    ephemeral_seen_.clear();
  } else {
    EXPECT_EQ(gap.lost_from, std::max(offset_, told_to_) + 1);
    EXPECT_GE(gap.lost_to, gap.lost_from);
    EXPECT_EQ(gap.position.offset, gap.lost_to);
  }
  offset_ = told_to_ = gap.position.offset;
}

void Journal::expect_complete() {
  if (truth_.is_exact) {
    while (next_ < truth_.lines.size()) pass_over(truth_.lines[next_++]);
  }
  if (truth_.epoch.is_set()) {
    EXPECT_EQ(epoch_, truth_.epoch);
  }
  EXPECT_EQ(offset_, truth_.top) << truth_.name << " did not reach the top";
}

}  // namespace carillon
