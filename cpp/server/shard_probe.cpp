#include "server/shard_probe.hpp"

#include <chrono>
#include <utility>

#include "hub/receipt.hpp"

namespace carillon {

void ShardProbe::ask(std::span<Shard* const> shards) {
  const std::lock_guard lock(mutex_);
  if (open_) {
    const std::lock_guard question_lock(open_->mutex);
    if (open_->missing > 0) return;
  }
  open_ = std::make_shared<Question>();
  open_->missing = shards.size();
  for (Shard* shard : shards) {
    auto receipt = std::make_shared<Receipt>([question = open_](bool has_run) {
      const std::lock_guard question_lock(question->mutex);
      --question->missing;
      question->has_lost_one |= !has_run;
      question->changed.notify_all();
    });
    shard->post([receipt = std::move(receipt)] { receipt->give(true); });
  }
}

bool ShardProbe::is_answered(Millis timeout_ms) {
  std::shared_ptr<Question> question;
  {
    const std::lock_guard lock(mutex_);
    question = open_;
  }
  if (!question) return false;
  std::unique_lock lock(question->mutex);
  const bool is_complete = question->changed.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                                      [&] { return question->missing == 0; });
  return is_complete && !question->has_lost_one;
}

}  // namespace carillon
