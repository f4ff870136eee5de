#pragma once

#include <functional>
#include <string>

namespace carillon {

/// Copies a database as it is at one moment, also while a server uses it. The copy is marked as one: the
/// server that opens it gives all channels new epochs, because the original may have gone on. The new file is
/// there only when it is whole, has been checked, and is on disk. Throws std::runtime_error with a sentence
/// that says what to do; a file that is there already is never overwritten. `between` is called again and
/// again; what it throws ends the copy, and nothing is left of it.
void copy_sqlite_file(
    const std::string& from, const std::string& to, const std::function<void()>& between = [] {});

}  // namespace carillon
