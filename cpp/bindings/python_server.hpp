#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <utility>

#include "bindings/without_gil.hpp"
#include "server/server.hpp"

namespace carillon {

/// The server as Python holds it. In a forked child its threads do not exist: it is leaked there rather than
/// joined.
class PyServer {
 public:
  PyServer(const std::string& config_json,
           const std::map<std::string, std::pair<std::string, pybind11::bytes>>& pages)
      : pid_(::getpid()) {
    std::map<std::string, StaticPage> served;
    for (const auto& [path, page] : pages) served[path] = {page.first, std::string(page.second)};
    server_ = std::make_unique<Server>(parse_config(config_json), std::move(served), CARILLON_VERSION);
  }
  ~PyServer() {
    if (pid_ != ::getpid()) {
      [[maybe_unused]] Server* leaked = server_.release();
      return;
    }
    server_
        .reset();  // with the GIL, which no thread of the core ever wants: this may be the interpreter's end
  }
  PyServer(const PyServer&) = delete;
  PyServer& operator=(const PyServer&) = delete;

  [[nodiscard]] Server& get() { return *server_; }
  /// Calls what may block while a takeover holds everything still. The GIL is only given up then, and `call`
  /// touches no Python object: a publish must not cost a change of threads.
  template <typename Call>
  auto call(Call call) {
    if (const std::shared_lock entered(server_->gate(), std::try_to_lock); entered) return call(*server_);
    const WithoutGil release;
    const std::shared_lock entered(server_->gate());
    return call(*server_);
  }

 private:
  std::unique_ptr<Server> server_;
  const pid_t pid_;
};

}  // namespace carillon
