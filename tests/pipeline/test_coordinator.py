"""What a fill's board makes of deaths and blocks; and how much care and how many processors a round takes."""

from collections import Counter

import pytest

from coigw_judge.fill.ledger import FillTally
from coigw_judge.pipeline.coordinator import TRIES, Board, Report
from coigw_judge.pipeline.fill_graph import BLOCK_ROWS, CARES
from coigw_judge.run.stages import next_care


def made(requests: int) -> FillTally:
    """What a process tells that has so many answers."""
    return FillTally(outcomes={"answer": Counter(scored=requests)})


def die(board: Board, times: int, actor: str = "a") -> None:
    for _ in range(times):
        assert not board.arrive(actor).hopeless
        board.last_words(actor, "out of memory")


def test_a_judge_that_never_answered_is_given_up_with_its_last_words():
    board = Board(replicas=1, answered=False)
    die(board, 4)
    assert board.arrive("a").hopeless == "the judge died 4 times in a row without an answer; at last: out of memory"


def test_replicas_die_side_by_side_before_a_job_is_given_up():
    board = Board(replicas=2, answered=False)
    die(board, 4, "a")
    die(board, 3, "b")
    assert not board.arrive("b").hopeless


def test_an_answer_ends_the_row_of_deaths():
    board = Board(replicas=1, answered=False)
    die(board, 3)
    board.report("process", Report(0, "", made(1), {}))
    die(board, 2 * TRIES, "a")
    assert not board.arrive("a").hopeless, "two records may take all tries of their blocks"
    board.last_words("a", "again")
    assert board.arrive("a").hopeless


def test_giving_up_a_record_is_no_answer_but_progress_once_there_was_one():
    given_up = FillTally(rows=1, outcomes={"answer": Counter(engine_died=3)})
    for answered, left in ((False, 3), (True, 0)):
        board = Board(replicas=1, answered=answered)
        die(board, 3)
        board.report("process", Report(0, "", given_up, {}))
        assert len(board.words()) == left


def test_a_process_that_ended_without_a_word_counts_as_a_death():
    board = Board(replicas=1, answered=False)
    for _ in range(5):
        welcome = board.arrive("a")
    assert "killed or crashed, without a word" in welcome.hopeless
    board = Board(replicas=1, answered=False)
    for actor in "abcdef":
        assert not board.arrive(actor).hopeless


def test_a_restarted_process_is_told_since_when_its_blocks_may_come_again():
    board = Board(replicas=1, answered=True)
    assert board.arrive("a").since is None
    for block, at in ((b"1", "005"), (b"2", "003"), (b"3", "007")):
        board.begin(block, at)
    board.end(b"2")
    assert board.arrive("a").since == "005"
    for at in ("010", "020"):
        board.begin(b"1", at)
    assert board.arrive("a").since == "007", "a block that used up its tries never comes again"


def test_who_has_left_is_no_longer_present():
    board = Board(replicas=2, answered=False)
    board.arrive("a"), board.arrive("b"), board.arrive("a")
    assert board.present() == 2
    board.left("a")
    assert board.present() == 1


def test_a_look_tells_who_lives_and_who_died_and_what_is_in_hand():
    board = Board(replicas=2, answered=False)
    assert [board.arrive(actor).replica for actor in ("a", "b")] == [0, 1]
    for replica, process in ((0, "a1"), (1, "b1")):
        board.report(process, Report(replica, "node", made(2), {"records": 3}, 4.0 + replica))
    assert board.arrive("a").replica == 0, "a process that was killed comes again as the same replica"
    board.report("a2", Report(0, "node", made(1), {"records": 1}, 1.0))
    board.last_words("b", "out of memory")
    look = board.look()
    assert (look.living, look.starts, look.deaths, look.total) == (1, 3, 2, made(5))
    assert look.startup == 5.0, "the slowest start"
    assert {process: report.now for process, report in look.reports.items()} == {
        "a1": {},
        "b1": {},
        "a2": {"records": 1},
    }


@pytest.mark.parametrize(
    "care, before, left, wanted",
    [
        ("many", 0, 10_000, "many"),
        ("many", 10_000, 700, "many"),
        ("many", 700, 600, "block"),
        ("many", 60, BLOCK_ROWS, "row"),
        ("block", 600, 40, "row"),
        ("row", 40, 30, "row"),
    ],
)
def test_more_care_where_a_round_did_not_help(care, before, left, wanted):
    assert next_care(care, before, left) == wanted and wanted in CARES
