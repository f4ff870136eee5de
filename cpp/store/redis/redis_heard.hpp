#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace carillon {

/// Which messages of other gateways have been heard. One whose sender has no answer is sent again, and a
/// Redis that was stopped carries out late what it has in the buffers of closed links: so a message may come
/// twice. Its number, which ascends in its gateway, tells.
class RedisHeard {
 public:
  /// So many numbers of a gateway are remembered. What is further behind its newest one has come too late.
  static constexpr std::size_t kNumbers = 1'024;
  /// Beyond it the gateway that was silent for longest is forgotten.
  static constexpr std::size_t kGateways = 1'024;

  /// Once for each number of a gateway. Number 0 is none, and always new.
  [[nodiscard]] bool is_new(std::string_view gateway, std::uint64_t number);
  /// Are there numbers of the gateway between its newest one and this? Not if nothing was heard of it.
  [[nodiscard]] bool is_behind_a_gap(std::string_view gateway, std::uint64_t number) const;
  [[nodiscard]] std::size_t gateways() const { return gateways_.size(); }

 private:
  struct Gateway {
    std::uint64_t newest = 0;
    std::bitset<kNumbers> heard;  // by number modulo its size: those up to `newest`
    std::uint64_t turn = 0;       // when it was heard last
  };
  void make_room();

  std::map<std::string, Gateway, std::less<>> gateways_;
  std::uint64_t turns_ = 0;
};

}  // namespace carillon
