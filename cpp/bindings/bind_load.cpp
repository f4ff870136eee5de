#include "bindings/bind_load.hpp"

#include <pybind11/stl.h>

#include <string>

#include "bindings/without_gil.hpp"
#include "load/board.hpp"
#include "load/histogram.hpp"
#include "load/report.hpp"
#include "load/settings.hpp"
#include "load/worker.hpp"

namespace py = pybind11;

namespace carillon {

namespace {

py::dict progress_of(load::Board& board) {
  const load::Board::Header& header = board.header();
  py::dict progress;
  progress["live"] = header.live.load();
  progress["published"] = header.published.load();
  progress["completed"] = header.completed.load();
  progress["deliveries"] = header.deliveries.load();
  progress["measuring_since_ns"] = header.measuring_since_ns.load();
  progress["is_measuring"] = header.is_measuring.load() != 0;
  progress["is_over"] = header.is_over.load() != 0;
  return progress;
}

void bind_settings(py::module_& m) {
  using load::Settings;
  py::class_<Settings>(m, "LoadSettings")
      .def(py::init<>())
      .def_readwrite("host", &Settings::host)
      .def_readwrite("port", &Settings::port)
      .def_readwrite("ports", &Settings::ports)
      .def_readwrite("transport", &Settings::transport)
      .def_readwrite("protocol", &Settings::protocol)
      .def_readwrite("publish_by", &Settings::publish_by)
      .def_readwrite("api_key", &Settings::api_key)
      .def_readwrite("channel", &Settings::channel)
      .def_readwrite("user", &Settings::user)
      .def_readwrite("connections", &Settings::connections)
      .def_readwrite("channels", &Settings::channels)
      .def_readwrite("channels_per_connection", &Settings::channels_per_connection)
      .def_readwrite("payload_bytes", &Settings::payload_bytes)
      .def_readwrite("has_records", &Settings::has_records)
      .def_readwrite("is_deflated", &Settings::is_deflated)
      .def_readwrite("is_idle", &Settings::is_idle)
      .def_readwrite("in_flight", &Settings::in_flight)
      .def_readwrite("rate_per_s", &Settings::rate_per_s)
      .def_readwrite("seconds", &Settings::seconds)
      .def_readwrite("messages", &Settings::messages)
      .def_readwrite("warmup", &Settings::warmup)
      .def_readwrite("timeout_s", &Settings::timeout_s)
      .def_readwrite("cuts", &Settings::cuts)
      .def_readwrite("cut_every_s", &Settings::cut_every_s)
      .def_readwrite("cut_s", &Settings::cut_s)
      .def_readwrite("return_s", &Settings::return_s)
      .def_readwrite("staying", &Settings::staying)
      .def_readwrite("return_port", &Settings::return_port)
      .def_readwrite("awaits_replies", &Settings::awaits_replies)
      .def_readwrite("slice_s", &Settings::slice_s)
      .def_readwrite("is_spinning", &Settings::is_spinning)
      .def_readwrite("worker", &Settings::worker)
      .def_readwrite("workers", &Settings::workers)
      .def_readwrite("server_pids", &Settings::server_pids)
      .def("check", &load::check);
}

void bind_report(py::module_& m) {
  using load::CpuTime;
  using load::Histogram;
  using load::Memory;
  using load::Report;
  py::class_<Histogram>(m, "LoadHistogram")
      .def(py::init<>())
      .def_static("from_buckets", &Histogram::from_buckets, py::arg("buckets"), py::arg("max_ns"))
      .def("record", &Histogram::record, py::arg("ns"))
      .def("merge", &Histogram::merge, py::arg("other"))
      .def("percentile_ns", &Histogram::percentile_ns, py::arg("share"))
      .def("buckets", &Histogram::buckets)
      .def_property_readonly("count", &Histogram::count)
      .def_property_readonly("max_ns", &Histogram::max_ns);
  py::class_<CpuTime>(m, "LoadCpuTime")
      .def_readonly("total_ns", &CpuTime::total_ns)
      .def_readonly("user_ms", &CpuTime::user_ms)
      .def_readonly("system_ms", &CpuTime::system_ms);
  py::class_<Memory>(m, "LoadMemory")
      .def_readonly("resident_kib", &Memory::resident_kib)
      .def_readonly("private_kib", &Memory::private_kib);
  using load::Slice;
  py::class_<Slice>(m, "LoadSlice")
      .def_readonly("latency", &Slice::latency)
      .def_readonly("publish", &Slice::publish);
  using load::CutReport;
  py::class_<CutReport>(m, "LoadCutReport")
      .def_readonly("returns", &CutReport::returns)
      .def_readonly("closed", &CutReport::closed)
      .def_readonly("retries", &CutReport::retries)
      .def_readonly("not_recovered", &CutReport::not_recovered)
      .def_readonly("expected", &CutReport::expected)
      .def_readonly("all_live_s", &CutReport::all_live_s)
      .def_readonly("server_cpu_ns", &CutReport::server_cpu_ns)
      .def_readonly("resume", &CutReport::resume)
      .def_readonly("staying_quiet", &CutReport::staying_quiet)
      .def_readonly("staying_storm", &CutReport::staying_storm);
  py::class_<Report>(m, "LoadReport")
      .def_readonly("deliveries", &Report::deliveries)
      .def_readonly("latency", &Report::latency)
      .def_readonly("last_subscriber", &Report::last_subscriber)
      .def_readonly("publish", &Report::publish)
      .def_readonly("slices", &Report::slices)
      .def_readonly("received_bytes", &Report::received_bytes)
      .def_readonly("sent_bytes", &Report::sent_bytes)
      .def_readonly("ping_gaps", &Report::ping_gaps)
      .def_readonly("pings", &Report::pings)
      .def_property_readonly("missing", [](const Report& report) { return report.sequence.missing; })
      .def_property_readonly("repeated", [](const Report& report) { return report.sequence.repeated; })
      .def_property_readonly("reordered", [](const Report& report) { return report.sequence.reordered; })
      .def_readonly("malformed", &Report::malformed)
      .def_readonly("changed", &Report::changed)
      .def_readonly("refused", &Report::refused)
      .def_readonly("lost", &Report::lost)
      .def_readonly("stalled", &Report::stalled)
      .def_readonly("first_fault", &Report::first_fault)
      .def_readonly("cuts", &Report::cuts)
      .def_readonly("connect_s", &Report::connect_s)
      .def_readonly("window_s", &Report::window_s)
      .def_readonly("generator_us", &Report::generator_us)
      .def_readonly("server_cpu", &Report::server_cpu)
      .def_readonly("server_before", &Report::server_before)
      .def_readonly("server_connected", &Report::server_connected);
}

}  // namespace

void bind_load(py::module_& m) {
  bind_settings(m);
  bind_report(m);
  py::class_<load::Board>(m, "LoadBoard")
      .def(py::init<const std::string&, bool>(), py::arg("path"), py::arg("is_new"))
      .def("progress", &progress_of);
  m.def(
      "run_load_worker",
      [](const load::Settings& settings, load::Board& board) {
        const WithoutGil release;
        return load::Worker(settings, board).run();
      },
      py::arg("settings"), py::arg("board"));
}

}  // namespace carillon
