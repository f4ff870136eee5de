#pragma once

#include <string_view>

#include "session/question_queue.hpp"

namespace carillon {

/// Reads the body of a backend's reply, in the shape of the Centrifuge family: `result`, `error` or
/// `disconnect`. A reply without a meaning leaves the question undecided, and the reason names the field.
/// `allows_anonymous`: a connect without a result is an anonymous client; else it is refused.
[[nodiscard]] Verdict read_backend_reply(const HookQuestion& question, std::string_view body,
                                         bool allows_anonymous);

}  // namespace carillon
