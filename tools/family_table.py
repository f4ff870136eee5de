"""Writes the table of docs/centrifuge-config.md: what becomes of each option of Centrifugo.

What works comes from the schema, what is refused from the list of absent options in the core. Here stands
only which test covers an option that works. `--check` compares, and looks for the tests.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from carillon import config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "centrifuge-config.md"
BEGIN, END = "<!-- table: make options -->\n", "<!-- end of table -->\n"
CHANNEL = "channel.without_namespace."
# Options that the family has not, by the beginning of their names.
OWN = (
    *(
        "threads",
        "flush",
        "store.",
        "demo",
        "limits.",
        "heartbeat.",
        "takeover.",
        "objectives.",
        "shutdown.pace",
        "client.token.leeway",
        "client.token.cookie",
        *(
            f"client.{kind}.{name}"
            for kind in ("token", "subscription_token")
            for name in ("eddsa_public_key", "jwks_file", "jwks_re")
        ),
        "channels.",
    ),
    *(
        CHANNEL + name
        for name in (
            *("history_bytes", "live_window_", "slow_consumer", "fanout", "sweep_interval", "batch_interval"),
            "conflate",
        )
    ),
)
_RULES = "RulesAccess.EveryRowOfTheTableHoldsForUsersSubscribersAndAnonymousClients"
_WISHES = "WebSocketRecovery.WhoMayRecoverAndKnowItsPositionIsUpToTheChannel"
_CONNECTIONS = "wire/test_limits_connections.py::"
_TOKENS = "wire/test_tokens.py::"
_PROXIES = "wire/test_http_hooks.py::"
_PROXY_TABLES = {
    "client.proxy.connect": "test_connect",
    "client.proxy.refresh": "test_refresh",
    "channel.proxy.subscribe": "test_subscribe",
    "channel.proxy.publish": "test_publish",
    "channel.proxy.sub_refresh": "test_sub_refresh",
    "rpc.proxy": "test_rpc",
}
# Of C++ Suite.Name, of Python the file below tests/python and its function.
TESTS = {
    "http_server.address": "wire/test_origin.py::test_insecure_mode_on_every_address_is_refused",
    "http_server.port": "test_facade_server.py::test_arguments_override_the_file",
    "http_server.internal_address": "wire/test_metrics.py::test_an_internal_address_that_is_none",
    "http_server.internal_port": "wire/test_metrics.py::test_an_address_of_its_own_has_nothing_else",
    "prometheus.enabled": "wire/test_metrics.py::test_they_can_be_switched_off",
    "client.insecure": _RULES,
    "client.allowed_origins": "wire/test_origin.py::test_allowed_origins",
    "client.ping_interval": "wire/test_ws_heartbeat.py::test_who_answers_pings_stays",
    "client.pong_timeout": "WebSocketHeartbeat.WithoutAPongTheConnectionIsClosed",
    "client.token.hmac_secret_key": _TOKENS + "test_a_secret",
    "client.token.rsa_public_key": _TOKENS + "test_a_public_key",
    "client.token.ecdsa_public_key": _TOKENS + "test_a_public_key",
    "client.token.jwks_public_endpoint": (
        _TOKENS + "test_the_keys_of_an_endpoint_are_fetched_and_follow_a_rotation"
    ),
    "client.token.audience": "TokenVerifier.IssuerAndAudienceMustBeThoseOfTheConfiguration",
    "client.token.issuer": "TokenVerifier.IssuerAndAudienceMustBeThoseOfTheConfiguration",
    "client.token.user_id_claim": "TokenVerifier.AnotherClaimMayNameTheUser",
    "client.token.hmac_previous_secret_key": "TokenVerifier.APreviousSecretCountsUntilItsTime",
    "client.token.hmac_previous_secret_key_valid_until": "TokenVerifier.APreviousSecretCountsUntilItsTime",
    **{
        f"client.subscription_token.{name}": "Tokens.OfASubscriptionMayHaveKeysOfTheirOwn"
        for name in (
            "enabled",
            "hmac_secret_key",
            "hmac_previous_secret_key",
            "hmac_previous_secret_key_valid_until",
            "rsa_public_key",
            "ecdsa_public_key",
            "jwks_public_endpoint",
            "audience",
            "issuer",
            "user_id_claim",
        )
    },
    **{
        f"{table}.{name}": _PROXIES + test
        for table, test in _PROXY_TABLES.items()
        for name in ("endpoint", "timeout", "http_headers", "binary_encoding", "http.static_headers")
    },
    "client.proxy.connect.enabled": _PROXIES + "test_connect",
    "client.proxy.refresh.enabled": _PROXIES + "test_refresh",
    "rpc.without_namespace.proxy_enabled": _PROXIES + "test_rpc",
    "rpc.namespaces": _PROXIES + "test_rpc",
    **{
        f"{CHANNEL}{operation}_proxy_enabled": f"{_PROXIES}test_{operation}"
        for operation in ("subscribe", "publish", "sub_refresh")
    },
    "client.allow_anonymous_connect_without_token": "Tokens.WithoutOneAClientIsAnonymousWhereThatIsAllowed",
    "client.disallow_anonymous_connection_tokens": "Tokens.OneWithoutAUserMayBeRefused",
    "client.expired_close_delay": "wire/test_limits_tokens.py::test_expired_close_delay_ms",
    "client.expired_sub_close_delay": "wire/test_limits_tokens.py::test_expired_sub_close_delay_ms",
    "client.connection_limit": _CONNECTIONS + "test_connections",
    "client.connection_rate_limit": "wire/test_limits_admission.py::test_accepts_per_s",
    "client.stale_close_delay": _CONNECTIONS + "test_handshake_timeout_ms",
    "client.channel_limit": _CONNECTIONS + "test_channels_per_connection",
    "client.concurrency": "wire/test_limits_commands.py::test_concurrency",
    "client.queue_max_size": _CONNECTIONS + "test_backlog_bytes",
    "client.history_max_publication_limit": "wire/test_limits_messages.py::test_history_publications",
    "websocket.compression": "wire/test_ws_deflate.py::test_websockets_negotiates_and_reads",
    "websocket.compression_min_size": "WebSocketDeflate.TheThresholdIsTheWholeMessages",
    "websocket.compression_level": "Deflate.WhatItMakesIsShorterAndInflatesToTheSame",
    "websocket.message_size_limit": _CONNECTIONS + "test_message_bytes",
    "channel.max_length": "wire/test_limits_messages.py::test_channel_name_bytes",
    "channel.history_meta_ttl": "wire/test_limits_messages.py::test_channel_lifetime_ms",
    "channel.namespaces": "Config.AChannelOfAnUnknownNamespaceIsUnknownOnceThereAreNamespaces",
    "client.user_connection_limit": "UserConnections.OneMoreThanTheLimitIsClosed",
    "client.connect_include_server_time": "WebSocketConnect.TheTimeIsToldWhereThatIsWanted",
    "http_stream.enabled": "wire/test_emulation.py::test_a_path_that_is_switched_off_is_not_there",
    "sse.enabled": "wire/test_emulation.py::test_a_path_that_is_switched_off_is_not_there",
    **{
        f"uni_{name}.enabled": "wire/test_unidirectional.py::test_a_path_that_is_switched_off_is_not_there"
        for name in ("websocket", "sse", "http_stream")
    },
    "http_api.key": "wire/test_api.py::test_who_may_call_it",
    "log.level": "test_cli.py::test_a_file_of_the_family_with_maps_is_served_and_the_log_has_its_level",
    "http_api.error_mode": ("wire/test_api_batch.py::test_an_error_has_a_status_where_that_is_asked_for"),
    "client.subscribe_to_user_personal_channel.enabled": "PersonalChannel.EveryUserHasOneAndNobodyElse",
    "client.subscribe_to_user_personal_channel.personal_channel_namespace": (
        "PersonalChannel.EveryUserHasOneAndNobodyElse"
    ),
    "client.subscribe_to_user_personal_channel.single_connection": (
        "PersonalChannel.WithASingleConnectionTheNewestStays"
    ),
    "http_api.insecure": "Config.InsecureIsForThisMachineOnly",
    "shutdown.timeout": "Config.EveryNameOfTheFamilyIsUnderstood",
    CHANNEL + "history_size": "ChannelOptions.HistoryNeedsBothASizeAndAnAge",
    CHANNEL + "history_ttl": "ChannelOptions.HistoryNeedsBothASizeAndAnAge",
    CHANNEL + "presence": "WebSocketPresence.IsRefusedWhereItIsOffAndWhereItIsForbidden",
    CHANNEL + "join_leave": "WebSocketNotices.JoinComesToTheJoinerToo",
    CHANNEL + "force_push_join_leave": (
        "WebSocketNotices.GoToThoseWhoAskAndMayReadThePresenceOrToAllIfForced"
    ),
    CHANNEL + "force_recovery": _WISHES,
    CHANNEL + "force_recovery_mode": "CacheRecovery.TheNewestIsAllThatComes",
    CHANNEL + "auto_cache_recover": "CacheRecovery.AFirstSubscribeGetsTheNewestToo",
    CHANNEL + "force_positioning": _WISHES,
    CHANNEL + "allow_recovery": _WISHES,
    CHANNEL + "allow_positioning": _WISHES,
    CHANNEL + "allowed_delta_types": "WebSocketDelta.IsGrantedWhereTheClientKnowsEveryPublication",
    CHANNEL + "subscription_type": (
        "WebSocketSubscribe.MapsAndSharedPollsAreRefusedAlsoWhereAChannelIsOfTheirType"
    ),
    CHANNEL + "delta_publish": "WebSocketDelta.AreOnlyMadeOfPublicationsThatWantThem",
    CHANNEL + "allow_tags_filter": "WebSocketFilter.IsMalformedOrNotAllowed",
    CHANNEL + "publication_data_format": "WebSocketPublish.TheFormatOfTheChannelIsChecked",
    CHANNEL + "allow_user_limited_channels": "RulesAccess.AUserLimitedChannelIsForTheUsersInItsName",
    **{
        f"{CHANNEL}allow_{operation}_for_{whom}": _RULES
        for operation in ("subscribe", "publish", "presence", "history")
        for whom in ("client", "subscriber", "anonymous")
        if (operation, whom) != ("subscribe", "subscriber")
    },
}


def table() -> str:
    """A row per option, those that work first."""
    rows = ["| option | | |", "|---|---|---|"]
    for option in config.schema():
        if option["name"] in TESTS:
            default = _escaped(json.dumps(option["default"]))
            rows.append(
                f"| `{_short(option['name'])}` | works, default `{default}` | `{TESTS[option['name']]}` |"
            )
    for option in config.absent():
        only = f", except `{_escaped(option['only'])}`" if option["only"] else ""
        rows.append(f"| `{_short(option['name'])}` | refused{only} | {_escaped(option['what'])} |")
    return "\n".join(rows) + "\n"


def problems() -> list[str]:
    """What is wrong with TESTS."""
    names = {option["name"] for option in config.schema()}
    own = {name for name in names if name.startswith(tuple(OWN))}
    found = [f"{name}: name its test in TESTS of tools/family_table.py" for name in names - own - set(TESTS)]
    found += [
        f"{name}: TESTS of tools/family_table.py has it, and the schema has not"
        for name in TESTS.keys() - names
    ]
    return found + [f"{name}: there is no test {test}" for name, test in TESTS.items() if not _exists(test)]


def _exists(test: str) -> bool:
    if "::" in test:
        file, function = test.split("::")
        path = ROOT / "tests" / "python" / file
        return (
            path.exists()
            and re.search(rf"^(async )?def {function}\(", path.read_text(), re.MULTILINE) is not None
        )
    suite, name = test.split(".")
    wanted = re.compile(rf"^TEST(_F|_P)?\(\s*{suite},\s*{name}\)", re.MULTILINE)
    return any(wanted.search(file.read_text()) for file in (ROOT / "tests" / "cpp").rglob("*.cpp"))


def _short(name: str) -> str:
    return name.removeprefix(CHANNEL) if name.startswith(CHANNEL) else name


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Rewrites the page; with `--check` it only says what is wrong."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    wanted = f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"
    found = problems()
    if "--check" in sys.argv[1:]:
        if wanted != page:
            found.append("docs/centrifuge-config.md: the table is out of date; run 'make options'")
    else:
        PAGE.write_text(wanted)
    for problem in sorted(found):
        print(problem)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
