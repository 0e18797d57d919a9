"""Categories: signals that are codes of names, such as a subject or a tenant, and have no order.

The code of a name is its place among the names of its node. Whatever is none of them has the code after the last one:
*other*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.topologies import node_text

Names = tuple[str, ...]
Codes = npt.NDArray[np.float32]

OTHER = "other"
"""What is shown of a request whose name is none of those that are known."""
MOST_NAMES = 2**24
"""float32 holds all whole numbers up to this one."""
NONE: Mapping[int, Names] = MappingProxyType({})


def coded(texts: Sequence[str]) -> tuple[Codes, Names]:
    """Codes of names, 0 the most frequent and equally frequent ones by name, and the names; "" is missing."""
    counts = Counter(text for text in texts if text)
    names = tuple(sorted(counts, key=lambda name: (-counts[name], name)))
    return codes_of(texts, names), names


def codes_of(texts: Iterable[str], names: Names) -> Codes:
    """The place of each text among the names, as many as there are names where it is none of them."""
    places = {name: float(code) for code, name in enumerate(names)}
    return np.array([places.get(text, float(len(names))) for text in texts], np.float32)


def recoded(codes: Codes, names: Names, new: Names) -> Codes:
    """The same names in another coding; NaN, of nodes that were not consulted, stays."""
    if names[: len(new)] == new:  # the other names are above these already
        others: Codes = np.minimum(codes, np.float32(len(new)))
        return others
    table = np.append(codes_of(names, new), np.float32(len(new)))
    unknown = np.isnan(codes)
    places = np.where(unknown, len(names), np.minimum(codes, len(names))).astype(np.intp)
    return np.where(unknown, np.float32(np.nan), table[places]).astype(np.float32)


def counts_of(codes: Codes, names: Names) -> npt.NDArray[np.intp]:
    """Requests of each name, and of all others."""
    known = np.minimum(codes[~np.isnan(codes)], len(names)).astype(np.intp)
    return np.bincount(known, minlength=len(names) + 1)


def most_frequent(codes: Codes, names: Names, most: int) -> Names:
    """At most so many names that occur, the most frequent first, equally frequent ones by name."""
    counts = counts_of(codes, names)
    order = sorted(range(len(names)), key=lambda code: (-counts[code], names[code]))
    return tuple(names[code] for code in order if counts[code] > 0)[:most]


def checked_categories(categories: Mapping[int, Sequence[str]] | None, nodes: int) -> dict[int, Names]:
    """Names of each node whose signal is a category.

    Raises
    ------
    TypeError, IndexError, ValueError
        If that is no mapping of nodes to names that differ.
    """
    if categories is None:
        return {}
    if not isinstance(categories, Mapping):
        raise TypeError(f"categories: expected a mapping of nodes to names, got {type(categories).__name__}")
    named = {}
    for key, names in categories.items():
        node = checks.place("categories", key, nodes)
        if isinstance(names, str):
            raise TypeError(f"categories[{node}]: expected a sequence of names, got a str")
        texts = tuple(checks.text(f"categories[{node}]", name) for name in names)
        if len(set(texts)) < len(texts) or not all(texts) or len(texts) >= MOST_NAMES:
            raise ValueError(f"categories[{node}]: expected names that differ, got {checks.quoted(list(texts))}")
        named[node] = texts
    return dict(sorted(named.items()))


def check_codes(signals: npt.NDArray[np.float32], categories: Mapping[int, Names]) -> None:
    """Raise ValueError unless the signals of these nodes are codes of their names, or of others, or NaN."""
    for node, names in categories.items():
        codes = signals[:, node]
        wrong = ~np.isnan(codes) & ((codes < 0) | (codes > len(names)) | (codes != np.floor(codes)))
        if wrong.any():
            raise ValueError(
                f"signals: expected codes 0 to {len(names)} of the categories of node {node}, "
                f"got {codes[wrong][0]:g}{checks.at(wrong, ('row',))}"
            )


def check_states(bin_edges: Sequence[npt.NDArray[np.float32]], categories: Mapping[int, Names]) -> None:
    """Raise ValueError unless each name has a state of its own, and others the last one."""
    for node, names in categories.items():
        codes = np.arange(len(names) + 1, dtype=np.float32)
        if not np.array_equal(np.searchsorted(bin_edges[node], codes, side="right"), codes) or (
            len(bin_edges[node]) != len(names)
        ):
            raise ValueError(
                f"categories[{node}]: expected one state a name and one for others, got {len(names)} names and "
                f"{len(bin_edges[node]) + 1} states"
            )


def in_coding(
    signals: npt.NDArray[np.float32], own: Mapping[int, Names], new: Mapping[int, Names], nodes: Names | None = None
) -> Codes:
    """Signals in another coding of the same nodes, whose names are `nodes`.

    Raises
    ------
    ValueError
        If a node has categories in one and numbers in the other; it is named.
    """
    _check_same_nodes(own, new, nodes)
    changed = [node for node, names in new.items() if names != own[node]]
    table = signals.copy() if changed else signals
    for node in changed:
        table[:, node] = recoded(signals[:, node], own[node], new[node])
    return table


def _check_same_nodes(own: Mapping[int, Names], new: Mapping[int, Names], nodes: Names | None = None) -> None:
    for node in sorted(own.keys() ^ new.keys()):
        kinds = ("categories", "numbers") if node in new else ("numbers", "categories")
        text = node_text(node, None if nodes is None else nodes[node])
        raise ValueError(f"traces: expected {kinds[0]} as signals of node {text}, got {kinds[1]}")


def joined_categories(parts: Sequence[tuple[npt.NDArray[np.float32], Mapping[int, Names]]]) -> dict[int, Names]:
    """One coding of the names of all parts, those of all requests that are most frequent first.

    Raises
    ------
    ValueError
        As `in_coding`.
    """
    for _, names in parts[1:]:
        _check_same_nodes(names, parts[0][1])
    categories = {}
    for node in parts[0][1]:
        counts: Counter[str] = Counter()
        for signals, names in parts:
            counts.update(dict(zip(names[node], counts_of(signals[:, node], names[node]).tolist(), strict=False)))
        categories[node] = tuple(sorted(counts, key=lambda name: (-counts[name], name)))
    return categories


def categories_for_file(categories: Mapping[int, Names]) -> dict[str, list[str]]:
    """For the fields of a saved model or policy."""
    return {str(node): list(names) for node, names in categories.items()}


def categories_from_file(fields: Mapping[str, object], nodes: int) -> dict[int, Names]:
    """What `categories_for_file` gave, checked; none in files of those that have none."""
    categories = fields.get("categories", {})
    if not isinstance(categories, dict) or not all(isinstance(names, list) for names in categories.values()):
        raise ValueError(f"categories: expected names by node, got {checks.quoted(categories)}")
    return checked_categories({int(node): names for node, names in categories.items()}, nodes)
