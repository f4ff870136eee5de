#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/without_gil.hpp"
#include "sim/planted_bugs.hpp"
#include "sim/world.hpp"

namespace py = pybind11;
using carillon::WithoutGil;

// carillon._sim; python/carillon/sim.py is what users see.
PYBIND11_MODULE(_sim, m) {
  namespace sim = carillon::sim;
  py::class_<sim::WorldOptions>(m, "WorldOptions")
      .def(py::init<>())
      .def_readwrite("seed", &sim::WorldOptions::seed)
      .def_readwrite("gateways", &sim::WorldOptions::gateways)
      .def_readwrite("clients", &sim::WorldOptions::clients)
      .def_readwrite("channels", &sim::WorldOptions::channels)
      .def_readwrite("publications", &sim::WorldOptions::publications)
      .def_readwrite("faults", &sim::WorldOptions::faults)
      .def_readwrite("members", &sim::WorldOptions::members)
      .def_readwrite("history_size", &sim::WorldOptions::history_size)
      .def_readwrite("duration_ms", &sim::WorldOptions::duration_ms)
      .def_readwrite("has_redis", &sim::WorldOptions::has_redis)
      .def_readwrite("sqlite", &sim::WorldOptions::sqlite)
      .def_readwrite("may_lose", &sim::WorldOptions::may_lose)
      .def_readwrite("keeps_trace", &sim::WorldOptions::keeps_trace)
      .def_readwrite("bug", &sim::WorldOptions::bug)
      .def_readwrite("only", &sim::WorldOptions::only);
  py::class_<sim::Report>(m, "Report")
      .def_readonly("seed", &sim::Report::seed)
      .def_readonly("complaints", &sim::Report::complaints)
      .def_readonly("trace_hash", &sim::Report::trace_hash)
      .def_readonly("trace_lines", &sim::Report::trace_lines)
      .def_readonly("trace", &sim::Report::trace)
      .def_readonly("acts", &sim::Report::acts)
      .def_readonly("acknowledged", &sim::Report::acknowledged)
      .def_readonly("delivered", &sim::Report::delivered)
      .def_readonly("recoveries", &sim::Report::recoveries)
      .def_readonly("gaps", &sim::Report::gaps)
      .def_readonly("lost", &sim::Report::lost)
      .def_readonly("events", &sim::Report::events)
      .def_readonly("simulated_ms", &sim::Report::simulated_ms);
  m.def(
      "run_world",
      [](const sim::WorldOptions& options) {
        const WithoutGil release;
        return sim::run_world(options);
      },
      py::arg("options"));
  m.def(
      "shrink_world",
      [](const sim::WorldOptions& options, std::size_t runs_max) {
        const WithoutGil release;
        return sim::shrink_world(options, runs_max);
      },
      py::arg("options"), py::arg("runs_max"));
  m.def("replay_command", &sim::replay_command, py::arg("options"));
  m.def("world_of", &sim::world_of, py::arg("bug"));
  m.def("planted_bugs", [] {
    std::vector<std::pair<std::string, std::string>> bugs;
    for (const sim::PlantedBug& bug : sim::planted_bugs()) bugs.emplace_back(bug.name, bug.what);
    return bugs;
  });
}
