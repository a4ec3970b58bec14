"""Plans, subjects and answers drawn at random."""

from hypothesis import strategies as st
from small import plan, rubric, subject

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan
from coigw_judge.replies.outcome import Scored, Unscored

A = rubric("a", dimensions=("x", "y"))


B = rubric("b", reads=("query", "answer"), dimensions=("x",), checks=("ok",))


C = rubric("c", reads=("query", "answer", "thought"), checks=("ok", "sound"))


LATER = rubric("later", notes=("n",))


PAIR, TRIPLET = subject(query="题"), subject(query="题", thought="思")


FAILED = Unscored(cause="malformed")


scores = st.integers(0, 10) | st.floats(0, 10)


def outcome(rubric_of: object, draw: st.DrawFn) -> Scored | Unscored:
    if draw(st.integers(0, 7)) == 0:
        return FAILED
    return Scored(
        scores={d.key: draw(scores) for d in rubric_of.dimensions},
        checks={c.key: draw(st.booleans()) for c in rubric_of.checks},
    )


@st.composite
def oracles(draw: st.DrawFn) -> dict[str, Scored | Unscored]:
    return {r.name: outcome(r, draw) for r in (A, B, C, LATER)}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    rubrics = draw(st.permutations([A, B, C]))
    names = [f"{r.name}.{d.key}" for r in rubrics for d in r.dimensions]
    gate = Gate(
        total=draw(st.none() | st.integers(0, 30)),
        each=draw(st.none() | st.integers(0, 10)),
        over=tuple(names),
        require=tuple(draw(st.sets(st.sampled_from(["b.ok", "c.ok", "c.sound"])))),
        review_total=draw(st.sampled_from([0, 3])),
        review_each=draw(st.sampled_from([0, 1.5])),
        tops=dict.fromkeys(names, 10),
    )
    floor = draw(st.none() | st.integers(0, 10))
    return plan(*rubrics, then=[LATER], gate=gate, early_exit=draw(st.booleans()), floor=floor)


subjects = st.sampled_from([subject(), PAIR, TRIPLET, subject(thought="思"), subject(query="题", genre="诗歌")])
