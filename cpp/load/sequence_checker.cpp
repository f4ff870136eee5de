#include "load/sequence_checker.hpp"

namespace carillon::load {

SequenceChecker::Verdict SequenceChecker::hear_gap(Stream& stream, std::uint64_t number) {
  const std::uint64_t skipped = number - stream.next;
  faults_.missing += skipped;
  stream.heard = skipped + 1 < kRemembered ? stream.heard << (skipped + 1) | 1 : 1;
  stream.next = number + 1;
  return {true, skipped};
}

SequenceChecker::Verdict SequenceChecker::hear_old(Stream& stream, std::uint64_t number) {
  const std::uint64_t age = stream.next - 1 - number;
  const std::uint64_t bit = age < kRemembered ? std::uint64_t{1} << age : 0;
  if (bit != 0 && (stream.heard & bit) == 0) {  // it was taken for missing, and is only late
    stream.heard |= bit;
    --faults_.missing;
    ++faults_.reordered;
  } else {
    ++faults_.repeated;
  }
  return {};
}

}  // namespace carillon::load
