"""A page of metrics in the text format of Prometheus (version 0.0.4), and what its histograms say."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Labels = tuple[tuple[str, str], ...]

_SHOWN = 60  # characters of a line in an error

_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_HEAD = re.compile(r"#[ \t]*(?P<word>HELP|TYPE)[ \t]+(?P<name>[a-zA-Z_:][\w:]*)(?:[ \t]+(?P<rest>.*))?", re.A)
_NAME = re.compile(r"[a-zA-Z_:][\w:]*", re.A)
_LABEL = re.compile(r'[ \t]*(?P<name>[a-zA-Z_]\w*)[ \t]*=[ \t]*"(?P<value>(?:[^"\\]|\\[\\"n])*)"[ \t]*', re.A)
_VALUE = re.compile(
    r"[ \t]+(?P<value>[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf|nan))(?:[ \t]+-?\d+)?[ \t]*",
    re.A | re.I,
)
_ESCAPE = re.compile(r"\\(.)")


class MalformedPage(ValueError):  # noqa: N818
    """A text is not a page of metrics. The message names the line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a page.

    Attributes:
        name: Its name, with the suffix `_bucket`, `_sum` or `_count` of a histogram.
        labels: Its labels, sorted by name.
        value: The number.
    """

    name: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Family:
    """The samples of one metric.

    Attributes:
        name: Name of the metric.
        kind: "counter", "gauge", "histogram", "summary" or "untyped".
        help: Its meaning; empty where the page has none.
        samples: Its samples, in the order of the page.
    """

    name: str
    kind: str = "untyped"
    help: str = ""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by bucket.

    Attributes:
        bounds: Upper bounds of the buckets, inclusive and ascending. The last one is infinite.
        counts: Number of observations in each bucket alone.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    def since(self, earlier: Histogram | None) -> Histogram:
        """Returns the observations after an earlier page. If a count went down, all of them are after it."""
        if earlier is None or earlier.bounds != self.bounds:
            return self
        new = tuple(now - before for now, before in zip(self.counts, earlier.counts, strict=True))
        return self if min(new) < 0 else Histogram(self.bounds, new)

    def quantile(self, share: float) -> float | None:
        """Returns the value below which a share of the observations is, as `histogram_quantile` does.

        Within a bucket the observations count as spread evenly. For a value in the last bucket, which has no
        bound, the bound below it is returned.

        Example:
            histogram.quantile(0.99)

        Args:
            share: Share of the observations, 0 to 1.

        Returns:
            The value; None without observations.
        """
        if not sum(self.counts):
            return None
        rank, below = share * sum(self.counts), 0.0
        for bucket, count in enumerate(self.counts[:-1]):
            if count and below + count >= rank:
                upper = self.bounds[bucket]
                lower = self.bounds[bucket - 1] if bucket else min(0.0, upper)
                return lower + (upper - lower) * (rank - below) / count
            below += count
        return self.bounds[-2] if len(self.bounds) > 1 else None


def merged(histograms: Iterable[Histogram]) -> Histogram | None:
    """Returns the observations of several histograms in one; None without any, or if their buckets differ."""
    all_of_them = list(histograms)
    if len({each.bounds for each in all_of_them}) != 1:
        return None
    counts = zip(*(each.counts for each in all_of_them), strict=True)
    return Histogram(all_of_them[0].bounds, tuple(map(sum, counts)))


def parse(text: str) -> dict[str, Family]:
    """Reads a page of metrics.

    Example:
        families = parse(httpx.get("http://127.0.0.1:9100/metrics").text)
        families["carillon_subscriptions"].samples[0].value

    Args:
        text: The page.

    Returns:
        The metrics by name, in the order of the page.

    Raises:
        MalformedPage: A line is not one of the format, or says again what an earlier line said.
    """
    families: dict[str, Family] = {}
    seen: set[tuple[str, Labels]] = set()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.startswith("#"):
                _read_head(line, families)
            elif line.strip():
                sample = _sample_of(line)
                if (sample.name, sample.labels) in seen:
                    raise MalformedPage("the same name and labels as in an earlier line; expected each once")
                seen.add((sample.name, sample.labels))
                _family_of(sample.name, families).samples.append(sample)
        except MalformedPage as error:
            shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
            raise MalformedPage(f"line {number}: {shown!r}: {error}") from None
    return families


def histograms_of(family: Family) -> dict[Labels, Histogram]:
    """Returns the histograms of a metric by their labels, without `le`.

    Raises:
        MalformedPage: The buckets do not belong together.
    """
    buckets: dict[Labels, dict[float, float]] = {}
    for sample in family.samples:
        if sample.name != f"{family.name}_bucket":
            continue
        labels = dict(sample.labels)
        try:
            bound = float(labels.pop("le"))
        except (KeyError, ValueError):
            raise MalformedPage(
                f"{sample.name}: a bucket has no number in the label le; expected its upper bound"
            ) from None
        buckets.setdefault(_sorted(labels), {})[bound] = sample.value
    return {labels: _histogram(family.name, of) for labels, of in buckets.items()}


def _histogram(name: str, buckets: Mapping[float, float]) -> Histogram:
    bounds = sorted(buckets)
    if bounds[-1] != math.inf:
        raise MalformedPage(f'{name}: the bucket with le="+Inf" is missing')
    up_to = [0.0, *(buckets[bound] for bound in bounds)]
    counts = tuple(upper - lower for lower, upper in pairwise(up_to))
    if not all(0 <= count < math.inf for count in counts):
        raise MalformedPage(f"{name}: the buckets do not ascend; expected each to count the lower ones, too")
    return Histogram(tuple(bounds), counts)


def _read_head(line: str, families: dict[str, Family]) -> None:
    """Reads a line with HELP or TYPE. Other comments have no meaning."""
    head = _HEAD.fullmatch(line)
    if head is None:
        if line[1:].split()[:1] in (["HELP"], ["TYPE"]):
            raise MalformedPage("expected # HELP NAME TEXT or # TYPE NAME TYPE")
        return
    family = families.setdefault(head["name"], Family(head["name"]))
    rest = (head["rest"] or "").rstrip(" \t\r")
    if head["word"] == "HELP":
        family.help = _unescaped(rest)
    elif rest not in _TYPES:
        raise MalformedPage(f"{rest!r} is not a type; expected one of {', '.join(_TYPES)}")
    elif family.samples or family.kind != "untyped":
        raise MalformedPage("the type comes too late; expected it once, before the samples")
    else:
        family.kind = rest


def _sample_of(line: str) -> Sample:
    name = _NAME.match(line)
    if name is None:
        raise MalformedPage('expected NAME{LABEL="VALUE"} NUMBER')
    labels: dict[str, str] = {}
    at = name.end()
    if line[at : at + 1] == "{":
        at = _read_labels(line, at + 1, labels)
    value = _VALUE.fullmatch(line.rstrip("\r"), at)
    if value is None:
        raise MalformedPage("expected a blank, a number, and nothing or a whole number after the name")
    return Sample(name[0], _sorted(labels), float(value["value"]))


def _read_labels(line: str, at: int, labels: dict[str, str]) -> int:
    """Reads labels, and returns where the line goes on behind the brace."""
    while label := _LABEL.match(line, at):
        if label["name"] in labels:
            raise MalformedPage(f"the label {label['name']} is there twice; expected it once")
        labels[label["name"]] = _unescaped(label["value"])
        at = label.end()
        if line[at : at + 1] != ",":
            break
        at += 1
    at += len(line[at:]) - len(line[at:].lstrip(" \t"))
    if line[at : at + 1] != "}":
        raise MalformedPage(
            f'column {at + 1}: expected LABEL="VALUE" or a closing brace; a backslash in a value only before '
            "another one, a quote or n"
        )
    return at + 1


def _family_of(name: str, families: dict[str, Family]) -> Family:
    for suffix in ("_bucket", "_sum", "_count"):
        family = families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if family and (family.kind == "histogram" or (family.kind == "summary" and suffix != "_bucket")):
            return family
    return families.setdefault(name, Family(name))


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
