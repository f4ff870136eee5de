#pragma once

#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace carillon::bench {

/// Command line of the form `--name value` and `--flag`. Anything unknown or unreadable prints `usage` and
/// ends the process with exit code 2: a benchmark that runs with a setting nobody asked for is worse than
/// none.
class Options {
 public:
  Options(int argc, char** argv, std::set<std::string> values, std::set<std::string> flags, const char* usage)
      : usage_(usage) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const std::string name = argument.starts_with("--") ? argument.substr(2) : "";
      if (flags.contains(name)) {
        given_[name] = "";
      } else if (values.contains(name) && i + 1 < argc) {
        given_[name] = argv[++i];
      } else {
        fail(argument);
      }
    }
  }

  bool has(const std::string& name) const { return given_.contains(name); }

  /// Empty if it was not given.
  std::string text(const std::string& name) const {
    const auto found = given_.find(name);
    return found == given_.end() ? std::string() : found->second;
  }

  template <typename Number>
  Number number(const std::string& name, Number fallback) const {
    const auto found = given_.find(name);
    if (found == given_.end()) return fallback;
    const std::string& digits = found->second;
    Number value{};
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size()) fail("--" + name + " " + digits);
    return value;
  }

  [[noreturn]] void fail(std::string_view what) const {
    std::fprintf(stderr, "cannot use: %.*s\n%s", static_cast<int>(what.size()), what.data(), usage_);
    std::exit(2);
  }

 private:
  std::map<std::string, std::string> given_;
  const char* usage_;
};

/// Raises the soft limit of descriptors to the hard one, for this process; returns it.
inline std::size_t raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace carillon::bench
