#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind_lab.hpp"
#include "bindings/bind_load.hpp"
#include "bindings/bind_server.hpp"
#include "bindings/store_answer.hpp"
#include "env/random.hpp"
#include "gateway/build_info.hpp"
#include "gateway/handover.hpp"
#include "server/config.hpp"
#include "server/config_parts.hpp"
#include "server/limit_table.hpp"
#include "server/reload.hpp"
#include "server/server.hpp"
#include "store/copy_to_redis.hpp"
#include "store/redis/redis_checkup.hpp"
#include "store/redis/redis_url.hpp"
#include "store/sqlite/sqlite_copy.hpp"
#include "store/sqlite/sqlite_schema.hpp"

namespace py = pybind11;

namespace {

std::vector<std::tuple<std::string, std::int64_t, std::string, std::string>> limits() {
  const carillon::Limits defaults;
  std::vector<std::tuple<std::string, std::int64_t, std::string, std::string>> rows;
  for (const carillon::LimitRow& row : carillon::kLimitRows) {
    rows.emplace_back(row.name, defaults.*(row.field), row.unit, row.doc);
  }
  return rows;
}

/// Text and place of each.
std::vector<std::pair<std::string, std::vector<std::string>>> config_mistakes(
    const std::string& config_json) {
  std::vector<std::pair<std::string, std::vector<std::string>>> found;
  try {
    (void)carillon::parse_config(config_json, carillon::ConfigText::as_written);
  } catch (const carillon::ConfigError& error) {
    for (const carillon::ConfigMistake& mistake : error.mistakes())
      found.emplace_back(mistake.text, mistake.keys);
  }
  return found;
}

/// Lets Ctrl-C end a long work that holds no GIL.
void check_signals() {
  const py::gil_scoped_acquire acquired;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

/// What keeps a file from being used becomes an error of the package.
template <typename Work>
auto with_file(Work&& work) {
  const py::gil_scoped_release released;
  try {
    return std::forward<Work>(work)();
  } catch (const std::runtime_error& error) {
    throw carillon::StoreFailure(error.what());
  }
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() =
      "The native module: the hub, its shards and sockets. Use it through `carillon.Server`, not directly.";
  py::register_exception<carillon::ConfigError>(m, "ConfigError", PyExc_ValueError);
  py::register_exception<carillon::PayloadTooLarge>(m, "PayloadTooLarge", PyExc_ValueError);
  py::register_exception<carillon::ServerStopped>(m, "ServerStopped", PyExc_RuntimeError);
  py::register_exception<carillon::StoreFailure>(m, "StoreError", PyExc_RuntimeError);
  py::register_exception<carillon::StoreAway>(m, "StoreUnavailable", PyExc_RuntimeError);
  py::register_exception<carillon::StoreInDoubt>(m, "StoreOutcomeUnknown", PyExc_RuntimeError);
  // Arguments: kind, text, offset and epoch of the channel's top.
  m.attr("AppendError") = py::reinterpret_steal<py::object>(
      PyErr_NewException("carillon._core.AppendError", PyExc_RuntimeError, nullptr));
  py::register_exception<carillon::PositionError>(m, "PositionError", PyExc_ValueError);
  py::register_exception<carillon::ReloadRefused>(m, "ReloadError", PyExc_RuntimeError);
  py::register_exception<carillon::HandoverError>(m, "TakeoverError", PyExc_RuntimeError);
  // NOLINTNEXTLINE(performance-unnecessary-value-param): the signature is pybind11's
  py::register_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const std::system_error& error) {  // becomes the subclass of OSError that belongs to the errno
      const py::tuple arguments = py::make_tuple(error.code().value(), error.what());
      PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
  });

  m.def("version", [] { return std::string(CARILLON_VERSION); });
  m.def("build_info", &carillon::build_info);
  m.def("limits", &limits);
  m.def(
      "copy_store_file",
      [](const std::string& from, const std::string& to) {
        with_file([&] { carillon::copy_sqlite_file(from, to, check_signals); });
      },
      py::arg("source"), py::arg("target"));
  m.def(
      "check_store_file",
      [](const std::string& path) { return with_file([&] { return carillon::check_sqlite_file(path); }); },
      py::arg("path"));
  m.def(
      "copy_store_to_redis",
      [](const std::string& path, const std::string& config_json) {
        const carillon::ServerConfig config = carillon::parse_config(config_json);
        carillon::SystemRandom random;
        const carillon::CopyToRedis copied = with_file([&] {
          return carillon::copy_sqlite_to_redis(path, carillon::redis_options(config), random, check_signals);
        });
        return std::make_tuple(copied.channels, copied.publications, copied.keys, copied.members,
                               copied.has_new_epochs);
      },
      py::arg("path"), py::arg("config_json"));
  m.def(
      "check_redis_store",
      [](const std::string& config_json) {
        const carillon::ServerConfig config = carillon::parse_config(config_json);
        std::vector<std::tuple<std::string, std::string, bool>> lines;
        carillon::SystemRandom random;
        for (const carillon::RedisFinding& each :
             with_file([&] { return carillon::check_redis(carillon::redis_options(config), random); }))
          lines.emplace_back(each.name, each.text, each.must_be_mended);
        return lines;
      },
      py::arg("config_json"));
  m.def("is_redis_url", &carillon::is_redis_url);
  m.def("config_schema", &carillon::config_schema);
  m.def("without_password", &carillon::without_password);
  m.def("config_absent", &carillon::config_absent);
  m.def("config_mistakes", &config_mistakes, py::arg("config_json"));
  m.def(
      "config_check",
      [](const std::string& config_json) {
        return carillon::config_to_json(
            carillon::parse_config(config_json, carillon::ConfigText::as_written));
      },
      py::arg("config_json"));
  carillon::bind_server(m);
  carillon::bind_load(m);
  carillon::bind_lab(m);
}
