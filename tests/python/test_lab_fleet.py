"""The measured costs of a fleet: what the simulator does with them, and the check against a measurement."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from carillon import lab
from carillon.lab.table import rows_of
from carillon.testing import RedisServer
from conftest import require

if TYPE_CHECKING:
    from pathlib import Path

FREE = lab.StoreCosts(
    append_us=0.0, gateway_us=0.0, entry_us=0.0, gateway_heard_us=0.0, gateway_entry_us=0.0, spread={}
)


def core_us(fleet: lab.Fleet, *, has_inboxes: bool = False) -> float:
    found = lab.simulate(
        "write", population=lab.Population(users=600, largest=600, exponent=0.0), fleet=fleet, online=1.0,
        publish_rate=20.0, seconds=2.0, arrivals="paced", has_inboxes=has_inboxes,
    )  # fmt: skip
    assert found.store_writes == (600 * 40 if has_inboxes else 0)
    return found.core_seconds * 1e6 / found.publications


def test_each_other_gateway_pays_for_hearing_a_publication() -> None:
    fleet = lab.Fleet(gateways=6).with_store(FREE)
    more = lab.Fleet(gateways=6).with_store(dataclasses.replace(FREE, gateway_heard_us=100.0))
    assert core_us(more) - core_us(fleet) == pytest.approx(5 * 100)
    alone = dataclasses.replace(more, gateways=1)
    assert core_us(alone) == pytest.approx(core_us(dataclasses.replace(fleet, gateways=1)))


def test_the_gateway_that_walks_pays_for_each_member() -> None:
    fleet = lab.Fleet(gateways=6).with_store(FREE)
    more = lab.Fleet(gateways=6).with_store(dataclasses.replace(FREE, gateway_entry_us=2.0))
    grown = core_us(more, has_inboxes=True) - core_us(fleet, has_inboxes=True)
    assert grown == pytest.approx(600 * 2.0)


def test_a_fleet_has_the_measured_costs_unless_others_are_given() -> None:
    measured = lab.StoreCosts()
    fleet = lab.Fleet(gateways=2, network_ms=3.0)
    assert fleet == fleet.with_store(measured)
    assert fleet.broker_entry_us == measured.entry_us
    assert measured.measured_on
    for name, (low, high) in measured.spread.items():
        assert low <= getattr(measured, name) <= high, name


def test_costs_of_a_store_are_saved_with_date_and_source(tmp_path: Path) -> None:
    costs = lab.StoreCosts(
        append_us=1.5, measured_on="2026-01-02", source="somebody", spread={"append_us": (1.0, 2.0)}
    )
    costs.save(tmp_path / "store.json")
    assert lab.StoreCosts.load(tmp_path / "store.json") == costs
    (tmp_path / "store.json").write_text('{"append_us": 1, "spread": {}}')
    with pytest.raises(lab.LabError, match=r"lacks .*gateway_us"):
        lab.StoreCosts.load(tmp_path / "store.json")


def test_the_check_names_what_is_off() -> None:
    costs = lab.Costs()
    measured = lab.MeasuredFleet(
        gateways=3,
        subscribers=300,
        publish_rate=10.0,
        publications=20,
        deliveries=6_000,
        generator_us=1_000.0,
    )
    rows = {row["figure"]: row for row in rows_of(lab.check_fleet(measured, costs, FREE))}
    assert rows["deliveries"]["error"] == 0
    expected_us = costs.publish_us + 300 * costs.of("ws").delivery_us
    assert rows["gateways_us"]["modelled"] == pytest.approx(expected_us)
    assert rows["last_p50_ms"]["modelled"] == pytest.approx((expected_us + 1_000) / 2 / 1e3)
    assert rows["gateways_us"]["error"] == pytest.approx(expected_us / measured.gateways_us - 1)


def test_a_measurement_of_the_bench_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    measured = lab.MeasuredFleet(gateways=4)
    file.write_text(json.dumps({"last": {"measured_fleet": dataclasses.asdict(measured)}}))
    assert lab.MeasuredFleet.load(file) == measured
    file.write_text("{}")
    with pytest.raises(lab.LabError, match=r"bench\.fleet last --json"):
        lab.MeasuredFleet.load(file)


@pytest.mark.wire
@pytest.mark.timeout(120)
def test_the_costs_of_a_store_are_measured() -> None:
    require(not RedisServer.missing(), RedisServer.missing())
    costs = lab.calibrate_store(seconds=0.3, rounds=1, gateways=2)
    assert costs.append_us > 0
    assert costs.entry_us > 0
    assert costs.gateway_entry_us > 0
    assert costs.measured_on >= "2026"
    with pytest.raises(lab.LabError, match="gateways=1"):
        lab.calibrate_store(gateways=1)


@pytest.mark.wire
def test_the_cost_of_a_full_gateway_is_measured() -> None:
    costs = lab.calibrate_crowd(lab.Costs(publish_us=0.0), connections=50, publications=4, rounds=2)
    assert costs.of("ws").delivery_us > 0
    assert "50 connections" in costs.machine
    assert costs.of("sse") == lab.Costs().of("sse")
    with pytest.raises(lab.LabError, match="connections: 0"):
        lab.calibrate_crowd(costs, connections=0)
