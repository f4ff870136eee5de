"""The table of limits as a whole: each row can be set, has an effect in words, and a test that reaches it."""

from __future__ import annotations

import carillon
import pytest
import test_limits_admission
import test_limits_commands
import test_limits_connections
import test_limits_fanout
import test_limits_fleet
import test_limits_hooks
import test_limits_messages
import test_limits_proxies
import test_limits_tokens
from carillon import _core, config

pytestmark = pytest.mark.wire

ROWS = {name: (default, unit, effect) for name, default, unit, effect in _core.limits()}
REACHED = {
    name.removeprefix("test_")
    for module in (
        test_limits_admission,
        test_limits_commands,
        test_limits_connections,
        test_limits_fanout,
        test_limits_fleet,
        test_limits_hooks,
        test_limits_messages,
        test_limits_proxies,
        test_limits_tokens,
    )
    for name in vars(module)
    if name.startswith("test_")
}


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    assert set(ROWS) == REACHED


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_documented_and_can_be_set(name: str) -> None:
    default, unit, effect = ROWS[name]
    assert len(effect) > 20
    assert unit in {"ms", "bytes"} or not name.endswith(("_ms", "_bytes"))
    (option,) = [each for each in config.schema() if (each["alias"] or each["name"]) == f"limits.{name}"]
    assert option["doc"] == effect

    def as_set(server: carillon.Server) -> int:
        value = config.get(server.settings, option["name"])
        return round(config.seconds(value) * 1000) if option["type"] == "duration" else value

    assert as_set(carillon.Server()) == default
    larger = max(default, 1) * 2
    assert as_set(carillon.Server(limits={name: larger})) == larger
    for wrong in (-1, "many", 1.5, None, True):
        with pytest.raises(carillon.ConfigError, match=name):
            carillon.Server(config={"limits": {name: wrong}})


def test_an_unknown_row_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(carillon.ConfigError, match="header_bytes"):
        carillon.Server(limits={"header_byte": 1})
