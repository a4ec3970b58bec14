"""What a job says of its screens (`screen:`), as pydantic models.

    min_chars: 8                          # the threshold; the screen's own default says what becomes of a hit
    min_chars: {value: 8, action: drop}   # both
    boilerplate: drop                     # the action alone, with the default threshold
    boilerplate: off                      # not looked at

A screen's key here is the flag of what it flags and its name in every count; `missing_date` says `no_date` and
`exclude` says `excluded`, or `excluded_near`.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from coigw_judge.errors import nearest
from coigw_judge.records import genres


def _off(value: object) -> object:
    """YAML reads `off` as false."""
    return "off" if value is False else value


Action = Annotated[Literal["drop", "flag", "off"], BeforeValidator(_off)]

EXEMPT: dict[str, tuple[str, ...]] = {
    "min_chars": ("标语", "广告文案", "诗歌", "搞笑文学", "社交媒体"),
    "chinese": (
        "跨语言搞笑",
        "网络黑话",
        "饭圈搞笑",
        "电竞搞笑",
        "动漫搞笑同人",
        "学术摘要",
        "教程",
        "产品说明书",
        "产品测评",
    ),
    "boilerplate": ("广告文案", "标语", "社交媒体", "搞笑文学", "策划案"),
    "repetition": ("诗歌", "发疯文学", "搞笑亚文化", "标语", "广告文案", "童话", "剧本", "演讲稿"),
    "encoding": ("网络黑话",),
}
"""Genres and categories that a screen leaves alone, where the job does not say otherwise: what it looks for is how
these are written. A refrain repeats, a slogan is short, advertising asks for a call."""

_EXEMPTIBLE = ("encoding", "min_chars", "max_chars", "chinese", "boilerplate", "repetition", "min_likes", "min_shares",
               "min_comments", "near_duplicate", "injection")  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScreenSetting(_Strict):
    """What a job says of one screen."""

    value: Annotated[float, Field(allow_inf_nan=False, ge=0)] | None = Field(
        default=None, description="the threshold from which on it hits; None where it needs none"
    )
    action: Action = Field(description="what becomes of a hit")


class DateSetting(_Strict):
    """What a job says of the date screen."""

    value: date = Field(description="the last day that is too old")
    action: Action = Field(description="what becomes of a hit")


class Exclude(_Strict):
    """Texts that must not come again: evaluation sets, earlier batches."""

    paths: tuple[str, ...] = Field(min_length=1, description="files, globs, folders or URIs, as in input.paths")
    action: Action = Field(default="drop", description="a record whose answer or query stands there word for word")
    near: Action = Field(default="flag", description="a record whose answer is nearly one there")


def _setting(value: float | None, action: Action, *, needs_value: bool = False) -> Any:
    """A key of `screen`, in all the ways that it may be written; `value` and `action` are what is left out."""

    def read(raw: object) -> object:
        if isinstance(raw, Mapping):
            raw = {"value": value, "action": action, **raw}
        elif raw is False or raw == "off":
            return {"value": value, "action": "off"}
        elif raw is True:
            raise ValueError("write drop, flag or off" + (", or a number" if value is not None or needs_value else ""))
        elif isinstance(raw, int | float):
            raw = {"value": raw, "action": action}
        elif isinstance(raw, str):
            raw = {"value": value, "action": raw}
        if isinstance(raw, dict) and needs_value and _off(raw["action"]) != "off" and raw["value"] is None:
            raise ValueError("write a number, or {value: a number, action: drop}")
        return raw

    return BeforeValidator(read)


def _date_setting(raw: object) -> object:
    if isinstance(raw, Mapping):
        return {"action": "drop", **raw}
    if raw is False or raw == "off":
        return None
    return {"value": raw, "action": "drop"} if raw is not None else None


def _exclude(raw: object) -> object:
    raw = {"paths": raw} if isinstance(raw, str | list | tuple) else raw
    return {**raw, "paths": [raw["paths"]]} if isinstance(raw, dict) and isinstance(raw.get("paths"), str) else raw


Limit = Annotated[ScreenSetting | None, _setting(None, "flag", needs_value=True)]
Encoding = Annotated[ScreenSetting, _setting(0.01, "drop")]
Chinese = Annotated[ScreenSetting, _setting(0.4, "flag")]
Boilerplate = Annotated[ScreenSetting, _setting(0.1, "flag")]
Repetition = Annotated[ScreenSetting, _setting(0.3, "flag")]
NearDuplicate = Annotated[ScreenSetting, _setting(None, "flag")]


class Screen(_Strict):
    """What is settled before the judge: each screen drops what it hits, or flags it, or is off."""

    duplicate: Literal["drop", "flag"] = Field(default="drop", description="a later row with the very same texts")
    injection: Literal["flag", "drop"] = Field(default="flag", description="a record that addresses the judge")
    published_after: Annotated[DateSetting | None, BeforeValidator(_date_setting)] = Field(
        default=None, description="drop: published on this day or before, by the earliest copy known"
    )
    missing_date: Literal["flag", "drop", "keep"] = Field(
        default="flag", description="no copy has a date that can be read; only looked at beside published_after"
    )
    encoding: Encoding = Field(
        default=ScreenSetting(value=0.01, action="drop"), description="the share of characters from which damage counts"
    )
    min_chars: Limit = Field(default=None, description="characters of the answer, blanks aside")
    max_chars: Limit = Field(default=None, description="characters of the answer, blanks aside")
    chinese: Chinese = Field(
        default=ScreenSetting(value=0.4, action="flag"),
        description="the least share of Chinese characters among the answer's letters",
    )
    boilerplate: Boilerplate = Field(
        default=ScreenSetting(value=0.1, action="flag"),
        description="the share of lines that advertise or come from the site, from which on it counts",
    )
    repetition: Repetition = Field(
        default=ScreenSetting(value=0.3, action="flag"),
        description="the share of the answer that stood there before, from which on it counts",
    )
    min_likes: Limit = Field(default=None, description="least likes, where the record gives any")
    min_shares: Limit = Field(default=None, description="least shares, where the record gives any")
    min_comments: Limit = Field(default=None, description="least comments, where the record gives any")
    near_duplicate: NearDuplicate = Field(
        default=ScreenSetting(action="off"),
        description="an answer nearly like an earlier one (MinHash), or of the same cluster_column",
    )
    cluster_column: str | None = Field(
        default=None, description="an input column in which equal values mean copies of one text; no MinHash then"
    )
    exclude: Annotated[Exclude | None, BeforeValidator(_exclude)] = Field(
        default=None, description="files whose texts must not come again"
    )
    diversity: bool | int = Field(
        default=500, ge=0, description="segment so many characters for ttr and mattr; true: all, false: none"
    )
    exempt: dict[str, tuple[str, ...]] = Field(
        default={}, description="screen: genres and categories that it leaves alone; replaces that screen's defaults"
    )

    @field_validator("exempt")
    @classmethod
    def _known_screens(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in value:
            if name not in _EXEMPTIBLE:
                known = ", ".join(_EXEMPTIBLE)
                raise ValueError(f"{name} takes no exemptions{nearest(name, _EXEMPTIBLE)}; those that do: {known}")
        return value

    def exempts(self, screen: str, genre: str | None) -> bool:
        """Whether a screen leaves a genre alone."""
        names = self.exempt.get(screen, EXEMPT.get(screen, ()))
        return genre is not None and bool(names) and genres.holds(names, genre)

    def setting(self, screen: str) -> ScreenSetting | None:
        """A screen's setting where it is on."""
        setting: ScreenSetting | None = getattr(self, screen)
        return None if setting is None or setting.action == "off" else setting

    @property
    def links(self) -> bool:
        """Whether rows must be compared with each other beyond exact duplicates."""
        return bool(self.published_after or self.exclude or self.near_duplicate.action != "off")

    @property
    def minhash(self) -> bool:
        """Whether answers are sketched for near duplicates."""
        return self.near_duplicate.action != "off" and self.cluster_column is None
