"""Every exception of the package: it survives a copy and a trip to another process."""

from __future__ import annotations

import copy
import importlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import carillon
import pytest
from carillon.errors import CarillonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARGUMENTS: dict[type[CarillonError], tuple[object, ...]] = {
    carillon.ConnectDenied: (3507, "permission denied"),
    carillon.ConnectionClosed: (3001, "shutdown"),
    carillon.SubscribeDenied: (103, "permission denied"),
    carillon.CommandError: (108, "not available"),
    carillon.GapError: ("news", None, 7, carillon.Position(7, "epoch")),
    carillon.StoreConflict: ("another top", carillon.Position(7, "epoch")),
    carillon.AddressInUse: (98, "127.0.0.1:8000 is taken"),
}


def every_kind() -> list[type[CarillonError]]:
    home = Path(carillon.__file__).parent
    for path in home.rglob("*.py"):
        if "Error)" in path.read_text() and "errors import" in path.read_text():
            importlib.import_module(".".join(("carillon", *path.relative_to(home).with_suffix("").parts)))

    def below(kind: type[CarillonError]) -> Iterator[type[CarillonError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    return sorted(set(below(CarillonError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("kind", every_kind())
def test_an_error_is_the_same_after_a_copy(
    kind: type[CarillonError], again: Callable[[CarillonError], CarillonError]
) -> None:
    error = kind(*ARGUMENTS.get(kind, ("why",)))
    error.add_note("where")
    twin = again(error)
    assert type(twin) is kind
    assert (str(twin), twin.args, twin.__dict__) == (str(error), error.args, error.__dict__)
    assert getattr(twin, "errno", None) == getattr(error, "errno", None)


def test_the_errors_of_other_modules_are_among_them() -> None:
    assert {"LabError", "LoadError"} <= {kind.__name__ for kind in every_kind()}


def test_every_error_of_the_package_can_be_caught_by_a_public_name() -> None:
    for kind in every_kind():
        if kind.__module__ == "carillon.errors":
            assert getattr(carillon, kind.__name__) is kind
            assert kind.__name__ in carillon.__all__
