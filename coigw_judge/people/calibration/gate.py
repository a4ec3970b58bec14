"""The gate against people's accept, and the gate that would send on a wanted share of what they accept."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from coigw_judge.people.calibration import agreement, cheapest_gate
from coigw_judge.people.calibration.file import Accepts, GateAgainstPeople, GatesForRecall, Hits, Review
from coigw_judge.people.calibration.labelled_records import LabelledRecords
from coigw_judge.people.labels.read import OVERALL
from coigw_judge.run_folder import verdicts
from coigw_judge.run_folder.gate import gate_of

DECIDED = ("kept", "review", "dropped")
RECALLS = (0.8, 0.9, 0.95, 0.99, 1.0)
"""Wanted recalls that are always reported, so that a person sees what more recall costs."""


def against_people(data: LabelledRecords) -> GateAgainstPeople | None:
    """Precision, recall and F1 of the run's decisions against people's; None where nobody decided."""
    votes = {n: vote for n, r in enumerate(data.records) if (vote := r.accepted(OVERALL, data.options.accept_at))}
    if not votes:
        return None
    decision = {n: data.records[n].verdict["decision"] for n in votes}
    counted = [n for n in votes if data.options.missing == "dropped" or decision[n] in DECIDED]
    people = Counter((decision[n], accept) for n, (accept, _) in votes.items())
    groups: dict[str, list[int]] = defaultdict(list)
    for n in counted:
        groups[data.group_of(n)].append(n)
    return GateAgainstPeople(
        decided_by_people=len(votes),
        ties_counted_as_not_accepted=sum(tied for _, tied in votes.values()),
        missing=data.options.missing,
        without_decision=Counter(decision[n] for n in votes if decision[n] not in DECIDED),
        decisions={
            name: Accepts(accepted=people[name, True], not_accepted=people[name, False])
            for name in dict.fromkeys(decision.values())
        },
        outside_labelled=sum(decision[n] not in ("kept", "review") for n in counted),
        kept=_hits(data, counted, votes, decision, ("kept",)),
        kept_or_review=_hits(data, counted, votes, decision, ("kept", "review")),
        by={
            name: _hits(data, places, votes, decision, ("kept",))
            for name, places in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
        },
    )


def _hits(
    data: LabelledRecords,
    places: Sequence[int],
    votes: Mapping[int, tuple[bool, bool]],
    decision: Mapping[int, str],
    passing: tuple[str, ...],
) -> Hits:
    passed = np.array([float(decision[n] in passing) for n in places])
    accepted = np.array([float(votes[n][0]) for n in places])
    figures = agreement.hits(passed, accepted, data.weights_of(places), data.options.how)
    return Hits(records=len(places), accepted=int(accepted.sum()), **figures)


def for_recall(data: LabelledRecords) -> GatesForRecall | None:
    """The choices of cheapest_gate.py, with what they rest on; None where no labelled record has all scores."""
    run, gate = data.run, gate_of(data.run)
    if not gate.over:
        return None
    schema = pa.schema([(name, run.columns[name]) for name in cheapest_gate.columns_of(gate)])
    table = pa.Table.from_pylist([record.verdict for record in data.records], schema=schema)
    reach = cheapest_gate.reach(table, gate)
    votes = [record.accepted(OVERALL, data.options.accept_at) for record in data.records]
    places = np.array([n for n, vote in enumerate(votes) if vote is not None and reach.known[n]], np.int64)
    if not len(places):
        return None
    costs = cheapest_gate.Costs()
    for batch in verdicts.batches(run, schema.names):
        costs.add(cheapest_gate.reach(batch, gate))
    labelled = cheapest_gate.Reach(reach.total[places], reach.least[places], reach.known[places])
    accepted = np.array([bool((votes[n] or (False,))[0]) for n in places])
    weights = np.ones(len(places)) if data.weights is None else data.weights[places]
    wanted = sorted({*RECALLS, *([] if data.options.recall is None else [data.options.recall])})
    decisions = run.manifest.decisions
    return GatesForRecall(
        labelled=len(places),
        left_out_without_scores=sum(vote is not None for vote in votes) - len(places),
        rows=costs.rows,
        review=Review(total=gate.review_total, each=gate.review_each),
        now=decisions["kept"] + decisions["review"],
        wanted=data.options.recall,
        choices=cheapest_gate.choose(labelled, accepted, weights, costs, gate, wanted, data.options.how),
        frontier=cheapest_gate.frontier(labelled, accepted, weights, costs),
    )
