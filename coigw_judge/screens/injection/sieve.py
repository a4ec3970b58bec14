"""Which rules are worth trying on a text: those whose seed stands in it.

A rule's seed is a part of its pattern that stands in every match, and begins with one of a few pairs of characters
(rules.py). All rules' pairs are looked for at once; where one stands, the seeds that begin with it are tried
there. What a rule finds is the same as if it had been tried on every text: a seed is a condition that is necessary, and
its rule and family are asked afterwards as ever. Texts that are no array (undisguised.py) are tried with all rules.
Not known here: what the rules look for.
"""

from collections.abc import Sequence

from coigw_judge.screens.injection.rules import Family, Rule
from coigw_judge.screens.injection.undisguised import View
from coigw_judge.text.codepoints import Pairs


class Sieve:
    """The rules of some families, by their seeds."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families
        self._beginning: dict[str, list[Rule]] = {}
        for rule in (rule for family in families for rule in family.rules):
            for pair in rule.begins:
                self._beginning.setdefault(pair, []).append(rule)
        self._pairs = Pairs(self._beginning)

    def rules(self, view: View) -> list[Rule]:
        """The rules that may find something in a text."""
        held = self._held(view)
        found: list[Rule] = []
        for family in self._families:
            rules = [rule for rule in family.rules if held is None or id(rule) in held]
            if rules and family.may_hold(view.text):
                found += rules
        return found

    def _held(self, view: View) -> set[int] | None:
        """The rules, by identity, whose seed stands in a text; None: not known."""
        if view.codes is None:
            return None
        held: set[int] = set()
        text = view.text
        for place in self._pairs.places(view.codes):
            for rule in self._beginning.get(text[place : place + 2], ()):
                if id(rule) not in held and rule.seed.match(text, place):
                    held.add(id(rule))
        return held
