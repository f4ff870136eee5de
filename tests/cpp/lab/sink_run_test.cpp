#include "lab/sink_run.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace carillon::lab {
namespace {

SinkSettings small(FanOut strategy) {
  SinkSettings settings;
  settings.strategy = strategy;
  settings.sweep_interval_ms = 5;
  settings.channels = 3;
  settings.members = 50;
  settings.online = 20;
  settings.rate_per_s = 1'000;
  settings.messages = 30;
  settings.warmup = 6;
  return settings;
}

TEST(SinkRun, EveryStrategyGivesEverySinkEverythingOnce) {
  for (const FanOut strategy : {FanOut::write, FanOut::read, FanOut::hybrid, FanOut::adaptive}) {
    const SinkReport report = run_sinks(small(strategy));
    EXPECT_EQ(report.faults, 0U);
    EXPECT_EQ(report.deliveries, 30U * 20);
    EXPECT_EQ(report.latency.count(), 30U * 20);
    EXPECT_EQ(report.last_subscriber.count(), 30U);
    EXPECT_EQ(report.publish.count(), 30U);
    EXPECT_EQ(report.inbox_read.count(), 30U) << "all who are offline";
    EXPECT_EQ(report.inbox_entries, strategy == FanOut::read ? 0U : 36U * 50);
    EXPECT_GT(report.cpu_ns, 0U);
    EXPECT_GT(report.delivered_bytes, report.deliveries * 128);
  }
}

TEST(SinkRun, AHybridChannelAboveItsThresholdIsRead) {
  SinkSettings settings = small(FanOut::hybrid);
  settings.threshold = 49;
  EXPECT_EQ(run_sinks(settings).inbox_entries, 0U);
}

TEST(SinkRun, NobodyOnlineAndEverybody) {
  for (const std::uint64_t online : {0U, 50U}) {
    SinkSettings settings = small(FanOut::write);
    settings.online = online;
    const SinkReport report = run_sinks(settings);
    EXPECT_EQ(report.faults, 0U);
    EXPECT_EQ(report.deliveries, 30 * online);
    EXPECT_EQ(report.publish.count(), 30U);
    EXPECT_EQ(report.inbox_read.count(), online == 0 ? 40U : 0U);
  }
}

TEST(SinkRun, WhatCannotBeIsRefused) {
  SinkSettings settings = small(FanOut::write);
  settings.online = 51;
  EXPECT_THROW(run_sinks(settings), std::invalid_argument);
  settings = small(FanOut::write);
  settings.rate_per_s = 0;
  EXPECT_THROW(run_sinks(settings), std::invalid_argument);
}

}  // namespace
}  // namespace carillon::lab
