"""Makes the one JSON document that the core validates from arguments, the environment and a file.

The core has the only schema: this module reads and merges, and does not decide what is valid.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import difflib
import functools
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import _core
from .address import is_loopback
from .arguments import kind, shown
from .channel import Channel
from .config_lines import line_in_json, line_in_toml, value_at
from .errors import ConfigError, from_core
from .logs import logger

_log = logger("server")

# Where the document has what `carillon.Server` takes under a shorter name.
_PLACES = {
    "host": "http_server.address",
    "port": "http_server.port",
    "api_key": "http_api.key",
    "insecure": "client.insecure",
    "allowed_origins": "client.allowed_origins",
    "store": "store.url",
}
_HEARTBEATS = {"ping_interval_ms": "client.ping_interval", "pong_timeout_ms": "client.pong_timeout"}
# Arguments that are tables, and what to give instead of anything else.
_TABLES = {
    "channels": 'give a dict by pattern, such as {"news": Channel(history_size=100)}',
    "limits": 'give a dict by name, such as {"connections": 1000}',
    "heartbeat": 'give a dict by name, such as {"ping_interval_ms": 25000}',
}
_PREFIX = "CARILLON_"
# What the command line and the notebooks read beside the options of the document.
_OTHERS = ("CONFIG", "URL", "TOKEN", "LOG_FORMAT", "ACCESS_LOG", "NB_SCALE")
_NEAR = 0.8  # of 1: a letter or two are wrong. Variables that Kubernetes sets for a service are further off.
_SECONDS = {"h": 3600.0, "s": 1.0, "ms": 0.001}


def load(path: str | Path) -> dict[str, Any]:
    """Reads a configuration file: TOML, or JSON if its name ends so.

    Raises:
        ConfigError: The file cannot be read, or is not valid TOML or JSON.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path} is not valid {kind}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold an object at the top, not a {type(document).__name__}")
    return document


def read(
    file: str | Path | None,
    over: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    offers_takeover: bool = False,
) -> dict[str, Any]:
    """Returns what a command runs with: the file, the environment over it, and `over` over both.

    Args:
        file: The file, if there is one.
        over: What the command line sets.
        arguments: Arguments of `Server` that are checked with it, but are not in what is returned.
        offers_takeover: Whether it is of a server of this machine, which needs its files and listens at
            `takeover.socket`.

    Raises:
        ConfigError: The file cannot be read, or there are mistakes in it or the environment; see `check`.
    """
    variables, wrong = _of_environment(os.environ)
    document = merge(merge(load(file) if file else {}, variables), over or {})
    if file is not None or wrong:
        check(merge(document, from_arguments(arguments or {})), file, wrong, offers_takeover=offers_takeover)
    return document


def check(
    document: Mapping[str, Any],
    file: str | Path | None,
    wrong: Iterable[str] = (),
    *,
    offers_takeover: bool = False,
) -> None:
    """Checks a document that has the values of this file, and perhaps others.

    Args:
        document: The document.
        file: The file; None if it has the values of none.
        wrong: Mistakes that are known already.
        offers_takeover: Whether it is of a server of this machine, which needs its files and listens at
            `takeover.socket`.

    Raises:
        ConfigError: It has mistakes. The message has a line for each, in the order of the file, with the line
            where it stands, or the variable of the environment that it comes from.
    """
    found = _core.config_mistakes(json.dumps(document, default=str))
    if offers_takeover:
        found += [*_missing_places(document), *_unreadable_files(document)]
    told: list[tuple[int, str]] = [(0, message) for message in wrong]
    has_others = bool(told)
    if not found and not told:
        return
    file = None if file is None else Path(file)
    of_file, text = ({}, "") if file is None else (load(file), file.read_text(encoding="utf-8"))
    find = line_in_json if file is not None and file.suffix == ".json" else line_in_toml
    for message, keys in found:
        with contextlib.suppress(LookupError):
            if value_at(of_file, keys) == value_at(document, keys) and (line := find(text, keys)):
                told.append((line, f"{file}:{line}: {message}"))
                continue
        variable = environment_variable(".".join(keys))
        is_of_environment = variable in os.environ and get(document, ".".join(keys)) is not None
        has_others = has_others or is_of_environment
        # Else it is of the command line, or about what is not there.
        told.append((0, f"{message} (set by {variable})" if is_of_environment else message))
    lines = [message for _, message in sorted(told, key=lambda each: each[0])]
    if file is not None and len(lines) > 1:
        places = f"{file} and the environment have" if has_others else f"{file} has"
        lines.insert(0, f"{places} {len(lines)} mistakes:")
    raise ConfigError("\n".join(lines))


_STORE_FILES = ("password_file", "sentinel_password_file", "ca_file", "certificate_file", "key_file")


def _unreadable_files(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yields mistakes about files that the store needs. The core reads them later, when it connects."""
    for name in _STORE_FILES:
        path = get(document, f"store.{name}")
        if not isinstance(path, str) or not path:
            continue
        try:
            with Path(path).open("rb") as file:
                is_empty = name.endswith("password_file") and not file.readline().strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
        else:
            if not is_empty:
                continue
            why = "its first line is empty"
        # A password that stands in the place of its file is not shown.
        place = "the file" if name.endswith("password_file") else f"'{path}'"
        yield f"store.{name}: {place} cannot be used: {why}", ["store", name]
    url = get(document, "store.url")
    scheme, _, path = str(url).partition(":")
    folder = Path(path).parent
    if scheme.lower() == "sqlite" and not path.startswith("//") and not folder.is_dir():
        yield f"store.url: '{folder}' is not a directory; make it, or give another path", ["store", "url"]


def _missing_places(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yields mistakes of a server that offers a takeover."""
    place = get(document, "takeover.socket")
    if isinstance(place, str) and place and not Path(place).parent.is_dir():
        text = f"takeover.socket: '{Path(place).parent}' is not a directory; make it, or give another path"
        yield text, ["takeover", "socket"]


@functools.cache
def schema() -> tuple[dict[str, Any], ...]:
    """Returns every option: its `name` (the dotted path), `alias`, `type`, `default` and `doc`."""
    return tuple(json.loads(_core.config_schema()))


@functools.cache
def absent() -> tuple[dict[str, str], ...]:
    """Returns the options that Centrifugo has and this version has not.

    Each has its `name`, with `*` for any text; `what` to write instead; and `only`, the JSON of the one value
    that is accepted, or "".
    """
    return tuple(json.loads(_core.config_absent()))


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Returns the options that the environment sets: CARILLON_ and the path, CARILLON_HTTP_SERVER_PORT=9000.

    The texts of a list are separated by spaces. A variable that resembles an option is an error. Any other
    CARILLON_ variable is logged as a warning and ignored: it may belong to another program. Variables that
    Kubernetes sets for a service named carillon, carillon-server or the like are ignored.

    Raises:
        ConfigError: A value is not of the option's type, or a name is misspelt. The message names it.
    """
    document, wrong = _of_environment(environment)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return document


def variables_in_use(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the names of the variables that set options."""
    names = {environment_variable(path) for option in schema() for path in _paths_of(option)}
    return sorted(names & {name for name, value in environment.items() if not _is_of_kubernetes(name, value)})


def _of_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the options that the environment sets, and what is wrong with it."""
    document: dict[str, Any] = {}
    environment = {name: value for name, value in environment.items() if not _is_of_kubernetes(name, value)}
    wrong = list(_misspelt(environment))
    for option in schema():
        for path in _paths_of(option):
            variable = environment_variable(path)
            if variable in environment:
                kind = "number" if path.endswith("_ms") else option["type"]
                try:
                    value = _parsed(environment[variable], kind)
                except ValueError as error:
                    shown = "" if option["secret"] else f"'{environment[variable]}' "
                    wrong.append(f"{variable}: {shown}{error}")
                else:
                    put(document, path, value)
    return document, wrong


def _paths_of(option: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of an option that a variable can set."""
    if option["type"] != "table":
        yield from filter(None, (option["name"], option["alias"]))


_SERVICE = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?$")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def _is_of_kubernetes(name: str, value: str) -> bool:
    return bool(_SERVICE.search(name) or (name.endswith("_PORT") and _ADDRESS.match(value)))


def _misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    known = {_PREFIX + name for name in _OTHERS}
    for option in schema():
        known.update(environment_variable(path) for path in _paths_of(option))
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    names = {name.removeprefix(_PREFIX): name for name in sorted(known)}
    for variable in unknown[:]:
        for near in difflib.get_close_matches(variable.removeprefix(_PREFIX), names, 1, _NEAR):
            unknown.remove(variable)
            yield f"{variable}: unknown variable; did you mean '{names[near]}'?"
    if unknown:
        _log.warning(
            "%s: unknown, nothing is set by it; 'carillon config schema' lists the options",
            ", ".join(unknown),
            extra={"event": "environment"},
        )


def environment_variable(path: str) -> str:
    """Returns the name of the variable that sets the option at `path`."""
    return _PREFIX + path.upper().replace(".", "_")


def from_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document for arguments of `carillon.Server`, without those that are None."""
    document: dict[str, Any] = {}
    for name, value in arguments.items():
        if value is None:
            continue
        if name in _TABLES and not isinstance(value, Mapping):
            raise ConfigError(f"{name}: {shown(value)} is {kind(value)}; {_TABLES[name]}")
        if name == "heartbeat":
            for row, number in value.items():
                is_number = isinstance(number, int) and not isinstance(number, bool)
                path = _HEARTBEATS.get(row)
                put(document, path or f"heartbeat.{row}", f"{number}ms" if path and is_number else number)
        elif name == "channels":
            document["channels"] = channel_table(value)
        elif name == "store" and isinstance(value, Mapping):
            document["store"] = dict(value)
        elif name == "allowed_origins" and isinstance(value, Sequence) and not isinstance(value, str):
            put(document, _PLACES[name], list(value))
        else:
            put(document, _PLACES.get(name, name), value)
    return document


def settings_of_server(arguments: Mapping[str, Any], document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the settings of a `carillon.Server`: defaults, this document, and these arguments over it.

    Without a document the system picks the port, and a server that only this machine can reach and that
    has no key is insecure.

    Raises:
        ConfigError: See `normalise`.
    """
    given = from_arguments(arguments)
    if document is not None:
        return normalise(merge(document, given))
    is_ours = is_loopback(str(get(given, "http_server.address", "127.0.0.1")))
    if is_ours and get(given, "client.insecure") is None and get(given, "http_api.key") is None:
        put(given, "client.insecure", True)
    return normalise(merge({"http_server": {"port": 0}}, given))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with the values of `over`: tables are merged, everything else is replaced.

    An option that `over` sets under its other name is replaced as well.
    """
    cleared = copy.deepcopy(dict(base))
    for option in schema():
        for set_here, set_there in ((option["name"], option["alias"]), (option["alias"], option["name"])):
            if set_here and set_there and get(over, set_here) is not None:
                _drop(cleared, set_there)
    return _merged(cleared, over)


def normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document with all defaults, checked by the core.

    Raises:
        ConfigError: Options are unknown or wrong; the message has a line for each, with its value and the
            remedy.
    """
    try:
        checked = _core.config_check(json.dumps(document, default=str))
    except Exception as error:
        raise from_core(error) from None
    result: dict[str, Any] = json.loads(checked)
    return result


def for_reading_again(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of all settings that is a valid configuration: without options of another store."""
    result: dict[str, Any] = json.loads(json.dumps(settings))
    if not result["store"]["url"].startswith("sqlite:"):
        del result["store"]["durability"]  # whoever writes it with another store is refused
    return result


def url_without_password(url: str) -> str:
    """Returns the URL as people may see it."""
    return _core.without_password(url)


def get(document: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Returns the value at a dotted path of the document."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


_OPERATIONS = ("subscribe", "publish", "presence", "history")


def allows_clients(settings: Mapping[str, Any]) -> Iterator[bool]:
    """Yields, for each table of settings that `normalise` returns, whether anonymous clients may do anything.

    Without a hook, and without keys for tokens, all clients are anonymous.
    """
    yield bool(settings["client"]["insecure"])
    keys = ("hmac_secret_key", "rsa_public_key", "ecdsa_public_key", "eddsa_public_key", "jwks_file")
    yield any(settings["client"]["token"][key] for key in (*keys, "jwks_public_endpoint"))
    yield bool(settings["client"]["proxy"]["connect"]["enabled"])
    tables = [settings["channel"].get("without_namespace", {})]
    tables += [*settings["channel"]["namespaces"], *settings["channels"].values()]
    for table in tables:
        yield any(table.get(f"{operation}_proxy_enabled") for operation in ("subscribe", "publish"))
        yield any(
            table.get(f"allow_{operation}_for_anonymous")
            and (table.get(f"allow_{operation}_for_client") or table.get(f"allow_{operation}_for_subscriber"))
            for operation in _OPERATIONS
        )


def warnings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what is hardly meant in settings that `normalise` returns, as pairs of an event and a text."""
    yield from (("refused_subscriptions", text) for text in refused_subscriptions(settings))
    yield from (("weak_secret", text) for text in weak_secrets(settings))


_HASH_BYTES = 32  # of HS256
_KEY_BYTES = 16


def weak_secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yields a warning for each secret that is short enough to be guessed. None has anything of it."""
    for table in ("token", "subscription_token"):
        options = settings["client"][table]
        secrets = {name: options[name].encode() for name in ("hmac_secret_key", "hmac_previous_secret_key")}
        secrets |= _secrets_of_file(options["jwks_file"])
        for name, secret in secrets.items():
            if 0 < len(secret) < _HASH_BYTES:
                yield (
                    f"client.{table}.{name}: has {_bytes(secret)}; anyone who guesses it can make tokens "
                    f"for any user. Give {_HASH_BYTES} random ones or more (openssl rand -hex 32), for HS384 "
                    "48 and for HS512 64 (RFC 7518, section 3.2)"
                )
    key = settings["http_api"]["key"].encode()
    if 0 < len(key) < _KEY_BYTES:
        yield (
            f"http_api.key: has {_bytes(key)}; anyone who guesses it can publish, and disconnect clients. "
            f"Give {_KEY_BYTES} random ones or more (openssl rand -hex 16)"
        )


def _bytes(secret: bytes) -> str:
    return f"{len(secret)} byte{'s' if len(secret) > 1 else ''}"


def _secrets_of_file(file: str) -> dict[str, bytes]:
    """Returns the secrets of a set of keys, by the text that names them. The core has read it already."""
    secrets = {}
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        keys = json.loads(Path(file).read_bytes())["keys"] if file else []
        for number, key in enumerate(keys):
            if isinstance(key, dict) and key.get("kty") == "oct":
                secrets[f"jwks_file: key {number + 1}"] = base64.urlsafe_b64decode(key["k"] + "==")
    return secrets


def refused_subscriptions(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yields a warning for each table of settings whose channels nobody can subscribe to."""
    tables = [("channel.without_namespace", settings["channel"].get("without_namespace", {}))]
    tables += [(f"channel.namespaces[{each['name']}]", each) for each in settings["channel"]["namespaces"]]
    tables += [(f'channels."{pattern}"', each) for pattern, each in settings["channels"].items()]
    for name, table in tables:
        kind = table.get("subscription_type", "stream")
        if kind != "stream":
            yield (
                f"{name}.subscription_type: {kind} subscriptions are not available; clients that subscribe "
                "get error 103"
            )


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path of the document."""
    *tables, name = path.split(".")
    for table in tables:
        document = document.setdefault(table, {})
    document[name] = value


def seconds(duration: str) -> float:
    """Returns a duration as `normalise` writes it ("25s", "100ms", "2h"), in seconds."""
    number = duration.rstrip("hms")
    return float(number) * _SECONDS[duration[len(number) :]]


def channel_table(channels: Mapping[str, Channel | Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the `channels` section of a configuration.

    Raises:
        ConfigError: The settings of a pattern are neither a `Channel` nor a dict.
    """
    table = {}
    for pattern, settings in channels.items():
        if not isinstance(settings, (Channel, Mapping)):
            raise ConfigError(
                f"channels[{pattern!r}]: {shown(settings)} is {kind(settings)}; give a Channel or a dict"
            )
        table[pattern] = settings.to_dict() if isinstance(settings, Channel) else dict(settings)
    return table


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        merged.pop(name.removesuffix("_ms") if name.endswith("_ms") else f"{name}_ms", None)
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _drop(document: dict[str, Any], path: str) -> None:
    *tables, name = path.split(".")
    table = get(document, ".".join(tables)) if tables else document
    if isinstance(table, dict):
        table.pop(name, None)


def _parsed(text: str, kind: str) -> Any:
    """Reads the value of a variable.

    Raises:
        ValueError: It is not of this kind. The message lacks the value.
    """
    if kind == "list":
        return text.split()
    if kind == "flag":
        if text.lower() not in {"true", "false"}:
            raise ValueError("is neither true nor false")
        return text.lower() == "true"
    if kind == "number":
        try:
            return int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
    return text
