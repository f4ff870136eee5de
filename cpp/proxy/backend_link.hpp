#pragma once

#include <functional>
#include <memory>
#include <string>

namespace carillon {

/// What became of one request to a backend.
struct BackendResult {
  bool is_answered = false;
  int status = 0;             ///< answered
  std::string body;           ///< answered
  bool is_reusable = false;   ///< answered: the connection takes another request
  bool is_untouched = false;  ///< not answered: the backend has sent nothing, so that it may be asked again
  std::string problem;        ///< not answered: for the log
};

/// A connection to a backend, which it opens with the first request. One request at a time. Its end ends the
/// request that is under way, whose `then` is never called.
class BackendLink {
 public:
  virtual ~BackendLink() = default;
  /// `then` is called once, not before the call has returned.
  virtual void exchange(const std::string& request, std::function<void(BackendResult)> then) = 0;
  /// After an exchange: does the connection stand, and has the backend said nothing more? Else what it says
  /// would be taken for the answer to another question.
  [[nodiscard]] virtual bool is_quiet() const = 0;
};

using MakeBackendLink = std::function<std::unique_ptr<BackendLink>()>;

}  // namespace carillon
