"""The taxonomy: the paper's names are all there, every name means one thing, and guidance follows genres by any name."""

import pytest
from small import rubric

from coigw_judge import load_rubric
from coigw_judge.errors import FixRubric
from coigw_judge.records import genres

PRINTED = {
    "Funny Literature": "Funny Subculture; Esports Funny Fiction; Anime/Manga Funny Fan Fiction; Subcultural Identity Expression; Fan Circle Funny Literature; Anti-Mainstream Consumption Funny Literature; Internet Jargon; Transnational/Cross-language Funny Literature",
    "Communication": "Social Media Content Creation; Advertising Copy; Blog Post; Debate Script; Popular Science; Speech Draft; Slogan; Product Review",
    "Novel": "Fiction/Story; Everyday Stories; Costume Novels; Mystery/Inference Stories; Wuxia Novels; Science Fiction Stories; Xuanhuan Novels; Fairy Tale; Fantasy/Magic Stories; Xianxia Novels; Emotional Stories; Military Novels; Sports Novels; Game Novels",
    "Functional": "Argumentative Essay; Academic Abstract; Proposal Planning; Open Letter; Apology Letter; Eulogy; Tutorial Guide; Interview Questions; Product Manual",
    "Non-fiction": "Essay; Reviews; Travel Writing; Historical Stories; Biography",
}
"""Appendix B. Poetry and Script have no rows by genre."""


def test_the_papers_genres_are_all_there_under_their_category() -> None:
    known = genres.taxonomy()
    assert {each.en for each in known.categories} == {*PRINTED, "Poetry", "Script"}
    printed = {(each.category.en, each.en) for each in known.genres if each.en and each.en not in ("Poetry", "Script")}
    assert printed == {(above, name) for above, names in PRINTED.items() for name in names.split("; ")}
    assert len(printed) == 44


def test_the_genre_rubric_offers_the_taxonomy() -> None:
    choice = load_rubric("genre").choices[0]
    assert choice.options == genres.options()
    assert len(set(choice.options)) == len(choice.options) == 44 + 2 + 2 + 1
    with pytest.raises(ValueError, match="options"):
        rubric("r", choices=[{"key": "c", "title": "c", "question": "?", "options": "taxonomies"}])


@pytest.mark.parametrize(
    ("name", "zh", "category"),
    [
        ("武侠小说", "武侠小说", "小说"),
        ("武侠", "武侠小说", "小说"),
        ("Wuxia Novels", "武侠小说", "小说"),
        (" wuxia  novels ", "武侠小说", "小说"),
        ("Ｓｌｏｇａｎ", "标语", "传播文体"),
        ("诗词", "诗歌", "诗歌"),
        ("Poetry", "诗歌", "诗歌"),
        ("疯狂文学", "发疯文学", "搞笑文学"),
        ("Novel", "小说", "小说"),
        ("Fiction / Story", "小说", "小说"),
        ("Nonfiction", "非虚构", "非虚构"),
    ],
)
def test_a_genre_is_known_by_any_of_its_names(name: str, zh: str, category: str) -> None:
    found = genres.category(name)
    assert (genres.standing_for(name), found and found.zh) == (zh, category)


@pytest.mark.parametrize("name", ["", " ", "古典小说", "其他", "小", "novels about wuxia", "\ud800", "诗" * 10_000])
def test_an_unknown_genre_stays_what_it_is(name: str) -> None:
    assert genres.standing_for(name) == name
    assert genres.canonical(name) is None and genres.category(name) is None
    assert genres.ladder(name) == (name,)
    assert not genres.holds(["诗歌", "小说"], name)


def test_every_name_of_the_file_is_recognised_and_stands_on_its_ladder() -> None:
    for each in genres.taxonomy().genres:
        assert genres.canonical(each.zh) == each
        assert each.en is None or genres.canonical(each.en) == each
        assert genres.ladder(each.zh)[-1] == each.category.zh
        assert each.within is None or genres.canonical(each.within) is not None
    assert genres.ladder("疯狂文学") == ("疯狂文学", "发疯文学", "搞笑亚文化", "搞笑文学")


def test_exemptions_name_genres_or_categories_in_any_language() -> None:
    assert (
        genres.holds(["诗歌"], "诗词")
        and genres.holds(["Poetry"], "歌词")
        and genres.holds(["Funny Literature"], "谐音梗")
    )
    assert genres.holds(["古典小说"], "古典小说")
    assert not genres.holds(["发疯文学"], "谐音梗") and not genres.holds(["搞笑亚文化"], "饭圈搞笑")


def test_guidance_is_found_by_alias_then_by_what_the_genre_is_a_kind_of() -> None:
    some = rubric(by_genre={"诗歌": "看断行", "搞笑文学": "看包袱", "Wuxia Novels": "看招式", "古典小说": "看回目"})
    said = {name: some.guidance(name) for name in ("诗词", "Poetry", "谐音梗", "武侠", "古典小说", "散文", "没有这种")}
    assert said == {
        "诗词": "看断行",
        "Poetry": "看断行",
        "谐音梗": "看包袱",
        "武侠": "看招式",
        "古典小说": "看回目",
        "散文": None,
        "没有这种": None,
    }
    finer = rubric(by_genre={"搞笑文学": "看包袱", "搞笑亚文化": "看梗", "疯狂文学": "看情绪"})
    assert [finer.guidance(name) for name in ("发疯文学", "谐音梗", "饭圈搞笑", None)] == [
        "看情绪",
        "看梗",
        "看包袱",
        None,
    ]


def test_a_shipped_rubric_speaks_to_genres_by_their_english_names() -> None:
    answer = load_rubric("answer")
    assert answer.guidance("Slogan") == answer.guidance("标语") is not None
    with pytest.raises(FixRubric):
        load_rubric("no_such_rubric")
