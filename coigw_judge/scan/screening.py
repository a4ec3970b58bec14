"""What screens say of scanned rows, in columns: first each by itself, then with what copies of it tell."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.input.splits import row_id
from coigw_judge.scan import copies
from coigw_judge.screens.all_screens import SUSPECTED, Finding, Screens, as_finding

_BY_COPIES = ("published_after", "no_date", "excluded", "excluded_near", "near_duplicate")
"""Screens that other rows have a say in."""


@dataclass(frozen=True, slots=True)
class Names:
    """How what copies point to is called: file names, by split and by excluded file."""

    splits: tuple[str, ...]
    excluded: tuple[str, ...]


def columns(findings: Iterable[Finding], suspected: str | None, screens: Screens) -> dict[str, Any]:
    """Screens.settled; a record that addresses its judge is flagged, whatever its genre is exempt from."""
    settled = screens.settled(findings)
    if suspected and SUSPECTED not in settled["flags"]:
        settled["flags"].append(SUSPECTED)
    return settled


def key_row(row: dict[str, Any], screens: Screens) -> dict[str, Any]:
    """A row for copies.Keys. What the date screen says is the same for all copies, so it does not set a row back."""
    own = {as_finding(sentence).screen for sentence in row["screens"]}.difference(_BY_COPIES)
    dropped = any(map(screens.drops, own))
    return {
        "row": copies.number(row["split"], row["row"], dropped),
        "position": row["position"],
        "published": row["published"],
        "same": int.from_bytes(row["record"][8:], "big", signed=True),
    }


def with_copies(table: pa.Table, clusters: copies.Clusters, screens: Screens, names: Names) -> pa.Table:
    """The rows, with the findings that their copies add."""
    places = zip(table["split"].to_pylist(), table["row"].to_pylist(), strict=True)
    linked = pa.array([place in clusters for place in places], pa.bool_())
    rows = table.filter(linked).to_pylist()
    for row in rows:
        findings = _findings(row, clusters[row["split"], row["row"]], screens, names)
        row |= columns(findings, row["suspected"], screens)
    return pa.concat_tables([table.filter(pc.invert(linked)), pa.Table.from_pylist(rows, schema=table.schema)])


def _findings(row: dict[str, Any], cluster: dict[str, Any], screens: Screens, names: Names) -> list[Finding]:
    found = [finding for finding in map(as_finding, row["screens"]) if finding.screen not in _BY_COPIES]
    found += screens.dated(cluster["published"], copied=cluster["published"] != row["published"])
    if cluster["excluded"] is not None and screens.on("excluded"):
        found.append(Finding("excluded", f"its text stands in {names.excluded[cluster['excluded']]}"))
    if cluster["excluded_near"] is not None and screens.on("excluded_near"):
        found.append(
            Finding("excluded_near", f"nearly the same text stands in {names.excluded[cluster['excluded_near']]}")
        )
    if cluster["near_split"] is not None and screens.on("near_duplicate", row["genre"]):
        first = row_id(names.splits[cluster["near_split"]], cluster["near_position"])
        found.append(Finding("near_duplicate", f"nearly the same as {first}"))
    return found


def hits(table: pa.Table, screens: Screens) -> dict[str, int]:
    """How many rows each screen `<screen>.dropped` (each row counts once) and `<screen>.flagged`."""
    counts: Counter[str] = Counter()
    for value in pc.value_counts(table["screened_by"].drop_null()).to_pylist():
        counts[f"{value['values']}.dropped"] += value["counts"]
    hits = pc.list_flatten(table["screens"].combine_chunks())
    for value in pc.value_counts(pc.list_element(pc.split_pattern(hits, ": ", max_splits=1), 0)).to_pylist():
        if not screens.drops(value["values"]):
            counts[f"{value['values']}.flagged"] += value["counts"]
    return dict(counts)
