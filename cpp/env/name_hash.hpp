#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "env/random.hpp"
#include "env/sip_hash.hpp"

namespace carillon {

/// A name and its hash, which is computed once for a stripe and for the table in it.
struct HashedName {
  std::string_view name;
  std::size_t hash = 0;
  operator std::string_view() const { return name; }  // NOLINT(google-explicit-constructor)
};

/// Hashes names that clients choose, with a key, so that a client cannot choose names that collide. The key
/// comes from the random source, so a simulation depends on its seed alone.
class NameHash {
 public:
  using is_transparent = void;
  explicit NameHash(RandomSource& random) : key_{random.next(), random.next()} {}

  // Not noexcept: libstdc++ then keeps each name's hash in the table instead of computing it again and again.
  std::size_t operator()(std::string_view name) const { return sip_hash(key_, name); }
  std::size_t operator()(const HashedName& name) const { return name.hash; }
  [[nodiscard]] HashedName of(std::string_view name) const { return {name, (*this)(name)}; }

 private:
  SipKey key_;
};

struct SameName {
  using is_transparent = void;
  bool operator()(std::string_view left, std::string_view right) const noexcept { return left == right; }
};

/// Can be searched by a view, or by a name with its hash, without making a string.
template <typename Value>
class NameTable : public std::unordered_map<std::string, Value, NameHash, SameName> {
 public:
  explicit NameTable(const NameHash& hash)
      : std::unordered_map<std::string, Value, NameHash, SameName>(0, hash) {}
};

/// A table in `kCount` parts, each with its own lock; the hash of a name selects the part.
template <typename Stripe, std::size_t kCount>
class Stripes {
 public:
  explicit Stripes(const NameHash& hash) : Stripes(hash, std::make_index_sequence<kCount>{}) {}

  static constexpr std::size_t size() { return kCount; }
  static std::size_t index_of(const HashedName& name) { return name.hash % kCount; }
  [[nodiscard]] Stripe& of(const HashedName& name) { return parts_[index_of(name)]; }
  [[nodiscard]] const Stripe& of(const HashedName& name) const { return parts_[index_of(name)]; }
  [[nodiscard]] Stripe& operator[](std::size_t index) { return parts_[index]; }
  [[nodiscard]] const Stripe& operator[](std::size_t index) const { return parts_[index]; }
  [[nodiscard]] auto begin() { return parts_.begin(); }
  [[nodiscard]] auto end() { return parts_.end(); }
  [[nodiscard]] auto begin() const { return parts_.begin(); }
  [[nodiscard]] auto end() const { return parts_.end(); }

 private:
  template <std::size_t... kIndex>
  Stripes(const NameHash& hash, std::index_sequence<kIndex...> /*indices*/)
      : parts_{(static_cast<void>(kIndex), Stripe(hash))...} {}
  std::array<Stripe, kCount> parts_;
};

}  // namespace carillon
