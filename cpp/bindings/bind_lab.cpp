#include "bindings/bind_lab.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "bindings/without_gil.hpp"
#include "lab/sink_run.hpp"

namespace py = pybind11;

namespace carillon {

namespace {

FanOut strategy_of(const std::string& name) {
  const auto* found = std::find(kFanOutNames.begin(), kFanOutNames.end(), name);
  if (found == kFanOutNames.end()) {
    throw std::invalid_argument("strategy: '" + name + "' is none of write, read, hybrid, adaptive");
  }
  return static_cast<FanOut>(found - kFanOutNames.begin());
}

}  // namespace

void bind_lab(py::module_& m) {
  using lab::SinkReport;
  py::class_<SinkReport>(m, "SinkReport")
      .def_readonly("publish", &SinkReport::publish)
      .def_readonly("latency", &SinkReport::latency)
      .def_readonly("last_subscriber", &SinkReport::last_subscriber)
      .def_readonly("inbox_read", &SinkReport::inbox_read)
      .def_readonly("deliveries", &SinkReport::deliveries)
      .def_readonly("delivered_bytes", &SinkReport::delivered_bytes)
      .def_readonly("inbox_entries", &SinkReport::inbox_entries)
      .def_readonly("cpu_ns", &SinkReport::cpu_ns)
      .def_readonly("faults", &SinkReport::faults);
  m.def(
      "run_sinks",
      [](const std::string& strategy, std::uint64_t threshold, std::int64_t sweep_interval_ms,
         std::uint64_t channels, std::uint64_t members, std::uint64_t online, double rate_per_s,
         std::uint64_t messages, std::uint64_t warmup, std::uint64_t payload_bytes) {
        lab::SinkSettings settings;
        settings.strategy = strategy_of(strategy);
        settings.threshold = threshold;
        settings.sweep_interval_ms = sweep_interval_ms;
        settings.channels = channels;
        settings.members = members;
        settings.online = online;
        settings.rate_per_s = rate_per_s;
        settings.messages = messages;
        settings.warmup = warmup;
        settings.payload_bytes = payload_bytes;
        const WithoutGil release;
        return lab::run_sinks(settings);
      },
      py::kw_only(), py::arg("strategy"), py::arg("threshold"), py::arg("sweep_interval_ms"),
      py::arg("channels"), py::arg("members"), py::arg("online"), py::arg("rate_per_s"), py::arg("messages"),
      py::arg("warmup"), py::arg("payload_bytes"));
}

}  // namespace carillon
