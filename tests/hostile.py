"""Every broken input that is tried, and what becomes of it. Nothing here is a test.

A case is a file. `rows` says what becomes of each of its rows, in order: JUDGED, DUPLICATE, or the beginning of the
reason why it is unreadable. docs/broken-input.md prints `title` and `becomes` with those reasons; a test holds the two
together. Every case has a text of its own, so that no case is another's duplicate.
"""

import datetime
import gzip
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

JUDGED, DUPLICATE = "judged", "same texts as "
MANY = 50
"""Rows of the files that are torn: together more than a decompressor hands out at once."""


@dataclass(frozen=True)
class Case:
    """A file: its heading and row in the docs, how its bytes are made from a text of its own, what its rows become."""

    part: str
    title: str
    becomes: str
    name: str
    make: Callable[[str], bytes]
    rows: list[str]
    torn: bool = False
    """Rows before the tear are judged, and how many is the decompressor's affair; `rows` holds the last one."""


def jsonl(*rows: Any, end: str = "\n", encoding: str = "utf-8") -> bytes:
    """Lines of JSON; a text or bytes stand for a line as they are."""
    lines = [row if isinstance(row, (str, bytes)) else json.dumps(row, ensure_ascii=False) for row in rows]
    return b"".join(line if isinstance(line, bytes) else (line + end).encode(encoding) for line in lines)


def one(**row: Any) -> Callable[[str], bytes]:
    """A file of one row, with the case's own text as answer where none is given."""
    return lambda text: jsonl({"id": "one", "answer": text} | row)


def answer(value: Any) -> Callable[[str], bytes]:
    return lambda _: jsonl({"id": "one", "answer": value})


def line(raw: str | bytes) -> Callable[[str], bytes]:
    """A file of one line as it is, between two sound rows."""
    end = "\n" if isinstance(raw, str) else b"\n"
    return lambda text: jsonl({"answer": f"{text}前"}, raw + end, {"answer": f"{text}后"})  # type: ignore[operator]


def coded(encoding: str, mark: bytes = b"") -> Callable[[str], bytes]:
    return lambda text: (
        mark + jsonl({"answer": f"{text}，写旧物与光阴"}, {"answer": f"{text}，写雨夜"}, encoding=encoding)
    )


def csv(*rows: str, encoding: str = "utf-8", header: str = "id,answer") -> Callable[[str], bytes]:
    """Rows of CSV; T stands for the case's own text."""
    return lambda text: "".join(f"{row}\n" for row in (header, *rows)).replace("T", text).encode(encoding)


def parquet(*arrays: tuple[str, Callable[[str], Any]], **options: Any) -> Callable[[str], bytes]:
    def make(text: str) -> bytes:
        table = pa.Table.from_arrays(
            [pa.array([]) if (a := f(text)) is None else a for _, f in arrays], [n for n, _ in arrays]
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return sink.getvalue()

    return make


def column(*values: Any, type_: Any = None) -> Callable[[str], Any]:
    return lambda text: pa.array([text + v if isinstance(v, str) else v for v in values], type_)


def dictionary(text: str) -> Any:
    return pa.array([f"{text}一", f"{text}二"]).dictionary_encode()


def not_utf8(text: str) -> Any:
    first = text.encode()
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, len(first), len(first) + 2))
    return pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(first + b"\xff\xfe")])


def cut(make: Callable[[str], bytes], share: float) -> Callable[[str], bytes]:
    return lambda text: (whole := make(text))[: int(len(whole) * share)]


def many(text: str) -> bytes:
    return jsonl(*({"id": n, "answer": f"{text}{noise(n)}"} for n in range(MANY)))


def noise(n: int) -> str:
    return hashlib.shake_128(b"%d" % n).hexdigest(2000)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


def packed(pack: Callable[[bytes], bytes], *makes: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda text: b"".join(pack(make(f"{text}{n}")) for n, make in enumerate(makes))


def broken_group(name: str) -> Callable[[str], bytes]:
    """Two row groups of two rows; the pages of a column are zeros in the second."""

    def make(text: str) -> bytes:
        texts = [f"{text}{n}" for n in range(4)]
        whole = parquet(
            ("answer", lambda _: pa.array(texts)),
            ("tags", lambda _: pa.array(texts)),
            row_group_size=2,
            use_dictionary=False,
        )
        data = bytearray(whole(text))
        chunk = pq.read_metadata(io.BytesIO(bytes(data))).row_group(1).column(("answer", "tags").index(name))
        data[chunk.data_page_offset : chunk.data_page_offset + chunk.total_compressed_size] = bytes(
            chunk.total_compressed_size
        )
        return bytes(data)

    return make


BLANK = "answer is missing or blank"
VALUES = "Texts and values"
ENCODINGS = "Encodings, where the job does not name one"
COMPRESSED = "Compressed files"
PARQUET = "Parquet"
CSV = "CSV"
LINES = "JSONL"
WHOLE = "Files that are something else"
AS_ANY = "judged as any other row"
UNREADABLE = "unreadable"
COSTS_ONE = "that row is unreadable, its neighbours are judged"

CASES = [
    # Texts and values
    Case(VALUES, "the answer is null", UNREADABLE, "null.jsonl", answer(None), [BLANK]),
    Case(VALUES, "the answer is missing", UNREADABLE, "absent.jsonl", lambda t: jsonl({"id": t}), [BLANK]),
    Case(VALUES, "the answer is empty", UNREADABLE, "empty-text.jsonl", answer(""), [BLANK]),
    Case(VALUES, "the answer is blanks, full-width ones too", UNREADABLE, "blank.jsonl", answer(" \t\r\n\u3000\xa0\u2003"), [BLANK]),
    Case(VALUES, "the answer is zero-width characters, marks of direction, fillers", UNREADABLE, "zero-width.jsonl", answer("\u200b\u200d\ufeff\u2060\u202e\u3164\u2800\ufe0f"), [BLANK]),
    Case(VALUES, "the answer is NUL and other control characters", UNREADABLE, "controls.jsonl", answer("\x00\x01\x1b\x7f\x85"), [BLANK]),
    Case(VALUES, "one character", AS_ANY, "one-character.jsonl", answer("。"), [JUDGED]),
    Case(VALUES, "ten million characters", "judged; with a real model `unscored`, too_long", "long.jsonl", answer("长" * 10_000_000), [JUDGED]),
    Case(VALUES, "a lone surrogate, as the escape `\\ud800`", UNREADABLE, "surrogate.jsonl", lambda _: json.dumps({"answer": "半\ud83d字"}).encode(), ["answer holds lone surrogates, which are no characters"]),
    Case(VALUES, "a lone surrogate in another column", AS_ANY, "surrogate-title.jsonl", lambda t: json.dumps({"id": "\udfff", "title": "\ud800", "answer": t}).encode(), [JUDGED]),
    Case(VALUES, "NUL and control characters amid a text", AS_ANY + "; the text is kept to the byte", "controls-amid.jsonl", lambda t: jsonl({"answer": f"{t}\x00\x1b[31m\x07\x9b"}), [JUDGED]),
    Case(VALUES, "the answer is a number", UNREADABLE, "number.jsonl", answer(7.5), ["answer is a number, not text"]),
    Case(VALUES, "the answer is true or false", UNREADABLE, "bool.jsonl", answer(True), ["answer is true/false, not text"]),
    Case(VALUES, "the answer is a list", UNREADABLE, "list.jsonl", answer(["文"]), ["answer is a list, not text"]),
    Case(VALUES, "the answer is an object", UNREADABLE, "object.jsonl", answer({"text": "文"}), ["answer is an object, not text"]),
    Case(VALUES, "the query or thought is no text", UNREADABLE + ": without it the row would be judged as something else", "query.jsonl", one(query=["题"]), ["query is a list, not text"]),
    Case(VALUES, "the query or thought is null or blank", "judged as a record without it", "no-query.jsonl", one(query=None, thought="\u3000"), [JUDGED]),
    Case(VALUES, "nested values in other columns", AS_ANY, "nested.jsonl", one(meta={"a": [{"b": [1, None, {}]}], "c": {}}, tags=[[], [1, "x"]]), [JUDGED]),
    Case(VALUES, "an id twice", AS_ANY + "; `row_id` is unique", "same-id.jsonl", lambda t: jsonl({"id": "k", "answer": f"{t}一"}, {"id": "k", "answer": f"{t}二"}), [JUDGED] * 2),
    Case(VALUES, "no id; an id that is null, blank, true, a list, NaN", AS_ANY + ", its id null", "no-id.jsonl", lambda t: jsonl(*({"answer": f"{t}{n}"} | ({"id": v} if n else {}) for n, v in enumerate(("", None, "\u200b", True, [1], float("nan"))))), [JUDGED] * 6),
    Case(VALUES, "an id that is a number", AS_ANY + ", its id the number as text", "number-id.jsonl", lambda t: jsonl({"id": 7, "answer": f"{t}一"}, {"id": 1.5, "answer": f"{t}二"}), [JUDGED] * 2),
    Case(VALUES, "the same texts again", "`duplicate`; with `screen: {duplicate: flag}` one fact for both, asked once, and a flag", "duplicate.jsonl", lambda t: jsonl({"id": 1, "answer": t}, {"id": 2, "answer": t, "genre": "诗歌"}), [JUDGED, DUPLICATE]),
    # Encodings
    Case(ENCODINGS, "UTF-8 with a byte order mark", AS_ANY, "bom.jsonl", coded("utf-8", b"\xef\xbb\xbf"), [JUDGED] * 2),
    Case(ENCODINGS, "UTF-16 with a byte order mark, little-endian", AS_ANY, "utf-16-le.jsonl", coded("utf-16-le", b"\xff\xfe"), [JUDGED] * 2),
    Case(ENCODINGS, "UTF-16 with a byte order mark, big-endian", AS_ANY, "utf-16-be.jsonl", coded("utf-16-be", b"\xfe\xff"), [JUDGED] * 2),
    Case(ENCODINGS, "UTF-16 without a mark, little-endian", AS_ANY, "utf-16-le-bare.jsonl", coded("utf-16-le"), [JUDGED] * 2),
    Case(ENCODINGS, "UTF-16 without a mark, big-endian", AS_ANY, "utf-16-be-bare.jsonl", coded("utf-16-be"), [JUDGED] * 2),
    Case(ENCODINGS, "GB18030", "every row unreadable; said once for the file", "gb18030.jsonl", coded("gb18030"), ["the line is not UTF-8 (it reads as GB18030; set input.encoding: gb18030)"] * 2),
    Case(ENCODINGS, "Big5", "every row unreadable; said once for the file", "big5.jsonl", lambda _: jsonl({"answer": "雨落在舊瓦上，我聽見"}, encoding="big5"), ["the line is not UTF-8 (it reads as BIG5; set input.encoding: big5)"]),
    Case(ENCODINGS, "Latin-1, Windows-1252", "rows with other than ASCII are unreadable", "latin-1.jsonl", lambda t: jsonl({"answer": f"plain {t.encode().hex()}"}) + jsonl({"answer": "Déjà vu, un café très naïf"}, encoding="latin-1"), [JUDGED, "the line is not UTF-8 (it reads as CP1252; set input.encoding: cp1252)"]),
    Case(ENCODINGS, "damaged UTF-8 in one line", COSTS_ONE, "damaged.jsonl", line('{"answer": "春天的早晨'.encode() + b"\x80" + '听雨"}'.encode()), [JUDGED, "the line is not UTF-8: invalid start byte at byte 27", JUDGED]),
    Case(ENCODINGS, "CSV in GB18030", "every row unreadable; said once for the file", "gb18030.csv", csv("1,T写旧物与光阴", "2,T写雨夜", encoding="gb18030"), ["the row is not UTF-8 (it reads as GB18030; set input.encoding: gb18030)"] * 2),
    Case(ENCODINGS, "CSV in GB18030, its header too", "every row unreadable; said once for the file", "gb18030-header.csv", csv("1,T写旧物与光阴", header="编号,正文", encoding="gb18030"), ["the header is not UTF-8 (it reads as GB18030; set input.encoding: gb18030)"]),
    Case(ENCODINGS, "CSV in UTF-16 with a byte order mark", AS_ANY, "utf-16.csv", csv('1,"T\n两行"', encoding="utf-16"), [JUDGED]),
    # Compressed files
    Case(COMPRESSED, "a gzip file of several members", AS_ANY, "members.jsonl.gz", packed(gzip.compress, one(), one()), [JUDGED] * 2),
    Case(COMPRESSED, "a zstd file of several frames", AS_ANY, "frames.jsonl.zst", packed(zstd, one(), one()), [JUDGED] * 2),
    Case(COMPRESSED, "a gzip file cut short", "rows before the tear are judged, then one unreadable row", "torn.jsonl.gz", cut(packed(gzip.compress, many), 0.6), ["the file breaks off here: "], torn=True),
    Case(COMPRESSED, "a zstd file cut short", "rows before the tear are judged, then one unreadable row", "torn.jsonl.zst", cut(packed(zstd, many), 0.9), ["the file breaks off here: "], torn=True),
    Case(COMPRESSED, "a CSV file whose gzip is cut short", "rows before the tear are judged, then one unreadable row", "torn.csv.gz", cut(packed(gzip.compress, lambda t: csv(*(f"{n},T{noise(n)}" for n in range(MANY)))(t)), 0.7), ["the file breaks off here: "], torn=True),
    Case(COMPRESSED, "a gzip file whose check sum is wrong", "rows are judged as they read, then one unreadable row: unpacking shows the damage only at the end", "check-sum.jsonl.gz", lambda t: gzip.compress(many(t))[:-8] + bytes(8), ["the file breaks off here: CRC check failed"], torn=True),
    Case(COMPRESSED, "plain JSONL called .jsonl.gz", "one unreadable row for the file", "plain.jsonl.gz", one(), ["the file cannot be read as gzip: Not a gzipped file"]),
    Case(COMPRESSED, "plain JSONL called .jsonl.zst", "one unreadable row for the file", "plain.jsonl.zst", one(), ["the file cannot be read as zstd: "]),
    # Parquet
    Case(PARQUET, "cut short in the footer", "one unreadable row for the file", "footer.parquet", cut(parquet(("answer", column("一"))), 0.97), ["the file cannot be read as Parquet ("]),
    Case(PARQUET, "cut short in the middle", "one unreadable row for the file", "middle.parquet", cut(parquet(("answer", column("一"))), 0.5), ["the file cannot be read as Parquet ("]),
    Case(PARQUET, "no bytes at all", "one unreadable row for the file", "nothing.parquet", lambda _: b"", ["the file cannot be read as Parquet ("]),
    Case(PARQUET, "JSONL called .parquet", "one unreadable row for the file", "lines.parquet", one(), ["the file cannot be read as Parquet ("]),
    Case(PARQUET, "a row group with broken pages", "the footer says how many rows it has: those that cannot be read are one unreadable row each", "group.parquet", broken_group("answer"), [JUDGED, JUDGED, *["row group 1 of the file is broken in column answer: "] * 2]),
    Case(PARQUET, "broken pages in a column that the job does not read", "judged; in `kept/` these rows lack that column", "other-column.parquet", broken_group("tags"), [JUDGED] * 4),
    Case(PARQUET, "text as large_string", AS_ANY, "large.parquet", parquet(("answer", column("一", type_=pa.large_string()))), [JUDGED]),
    Case(PARQUET, "text as a dictionary", AS_ANY, "dictionary.parquet", parquet(("answer", dictionary)), [JUDGED] * 2),
    Case(PARQUET, "text in a binary column", UNREADABLE, "binary.parquet", parquet(("answer", lambda t: pa.array([t.encode()]))), ["answer is bytes, not text"]),
    Case(PARQUET, "text that is not UTF-8", COSTS_ONE, "not-utf8.parquet", parquet(("answer", not_utf8)), [JUDGED, "answer is bytes, not text"]),
    Case(PARQUET, "the answer is a date", UNREADABLE, "date.parquet", parquet(("answer", column(datetime.date(2024, 1, 1)))), ["answer is a date, not text"]),
    Case(PARQUET, "an id that is a date or a decimal", AS_ANY + ", its id that as text", "date-id.parquet", parquet(("id", column(datetime.date(2024, 1, 1))), ("answer", column("一"))), [JUDGED]),
    Case(PARQUET, "a date beyond the year 9999 in another column", AS_ANY, "far.parquet", parquet(("published_at", lambda _: pa.array([10**18]).cast(pa.timestamp("ms"))), ("answer", column("一"))), [JUDGED]),
    Case(PARQUET, "no column `answer` in one of the files", UNREADABLE, "content.parquet", parquet(("content", column("一"))), [BLANK]),
    Case(PARQUET, "other columns, in another order", AS_ANY, "order.parquet", parquet(("likes", column(3)), ("answer", column("一")), ("id", column("x")), ("likes.all", column(1))), [JUDGED]),
    Case(PARQUET, "the column `answer` twice", UNREADABLE, "twice.parquet", parquet(("answer", column("一")), ("answer", column("二"))), ["the file has the column answer twice"]),
    Case(PARQUET, "no rows", "no rows", "no-rows.parquet", parquet(("answer", lambda _: pa.array([], pa.string()))), []),
    # CSV
    Case(CSV, "quotes in a cell that is not quoted", AS_ANY, "bare.csv", csv('1,他说"T"就走了'), [JUDGED]),
    Case(CSV, "text behind a closing quote", COSTS_ONE, "behind.csv", csv("1,T一", '2,"T"二', "3,T三"), [JUDGED, "the row is not CSV: ", JUDGED]),
    Case(CSV, "more cells than the header", COSTS_ONE + "; its text may have been cut at a comma", "more.csv", csv("1,T一", "2,T,二", "3,T三"), [JUDGED, "the row has 3 cells and the header 2; put a text that holds a comma in quotes", JUDGED]),
    Case(CSV, "fewer cells than the header", "the missing ones are null", "fewer.csv", csv("1,T一", "2"), [JUDGED, BLANK]),
    Case(CSV, "NUL in a cell", AS_ANY, "nul.csv", csv("1,T\0"), [JUDGED]),
    Case(CSV, "line breaks in quotes", AS_ANY, "breaks.csv", csv('1,"T\n\r\n二"'), [JUDGED]),
    Case(CSV, "the header again amid the rows", COSTS_ONE, "header.csv", csv("1,T一", "id,answer", "2,T二"), [JUDGED, "the row repeats the header", JUDGED]),
    Case(CSV, "files joined, each with a byte order mark and a header", "the second header is unreadable, the rows are judged", "joined.csv", lambda t: b"".join(b"\xef\xbb\xbf" + f"id,answer\n{n},{t}{n}\n".encode() for n in (1, 2)), [JUDGED, "the row repeats the header", JUDGED]),
    Case(CSV, "a quote that never closes", COSTS_ONE, "quote.csv", csv("1,T一", '2,"T二', "3,T三"), [JUDGED, "the row is not CSV: a quote is opened and never closed", JUDGED]),
    Case(CSV, "cut short within a quoted text", "that row is unreadable, with the lines that belong to it", "cut.csv", csv("1,T一", '2,"T二', "接着写", "还没有完"), [JUDGED, "the row is not CSV: a quote is opened and never closed (2 more lines belong to it)"]),
    Case(CSV, "the column `answer` twice in the header", "every row unreadable; said once for the file", "twice.csv", csv("T一,T二", header="answer,answer"), ["the header names the column answer twice"]),
    Case(CSV, "a row that is not UTF-8", COSTS_ONE, "bytes.csv", lambda t: f"answer\n{t}\n".encode() + b"\xff\xfe\n", [JUDGED, "the row is not UTF-8"]),
    Case(CSV, "a header and no rows", "no rows", "no-rows.csv", csv(), []),
    # JSONL
    Case(LINES, "a line that is no JSON", COSTS_ONE, "torn.jsonl", line('{"answer": "没有'), [JUDGED, "the line is not JSON: ", JUDGED]),
    Case(LINES, "a line with something behind its object", COSTS_ONE, "behind.jsonl", line('{"answer": "文"} 尾'), [JUDGED, "the line is not JSON: Extra data", JUDGED]),
    Case(LINES, "a line that is no object", COSTS_ONE, "no-object.jsonl", line('"文"'), [JUDGED, "the line is not a JSON object; write one object per line", JUDGED]),
    Case(LINES, "the file is one JSON array on one line", "one unreadable row", "array.jsonl", lambda t: json.dumps([{"answer": t}]).encode(), ["the line is not a JSON object; write one object per line"]),
    Case(LINES, "JSON printed over several lines", "every line is one unreadable row", "pretty.jsonl", lambda t: json.dumps({"answer": t}, indent=1).encode(), ["the line is not JSON: "] * 3),
    Case(LINES, "blank lines, CRLF, no last line's end", "blank lines are no rows; the others are judged", "blank-lines.jsonl", lambda t: b"\n  \r\n" + jsonl({"answer": f"{t}一"}, end="\r\n") + b"\t\n" + jsonl({"answer": f"{t}二"}, end=""), [JUDGED] * 2),
    Case(LINES, "files joined, each with a byte order mark", AS_ANY, "joined.jsonl", lambda t: b"".join(b"\xef\xbb\xbf" + jsonl({"answer": f"{t}{n}"}) for n in "一二"), [JUDGED] * 2),
    Case(LINES, "NaN and Infinity", "read as Python does; in JSONL that is written they are null", "nan.jsonl", one(likes=float("nan"), shares=[float("inf")]), [JUDGED]),
    Case(LINES, "a key twice in one object", "the last one counts, as for other JSON readers", "key-twice.jsonl", lambda t: f'{{"answer": 1, "answer": "{t}"}}\n'.encode(), [JUDGED]),
    Case(LINES, "nested a hundred thousand deep", COSTS_ONE, "deep.jsonl", line('{"answer": ' + "[" * 100_000), [JUDGED, "the line is not JSON: ", JUDGED]),
    Case(LINES, "a number of five thousand digits", COSTS_ONE, "huge.jsonl", line(f'{{"answer": "文", "likes": {"9" * 5000}}}'), [JUDGED, "the line is not JSON: ", JUDGED]),
    Case(LINES, "a run of NUL bytes, as a crash leaves it", COSTS_ONE, "hole.jsonl", line(b"\0" * 50), [JUDGED, "the line is not JSON: ", JUDGED]),
    Case(LINES, "no bytes at all", "no rows", "nothing.jsonl", lambda _: b"", []),
    # Something else
    Case(WHOLE, "PDF called .jsonl", "one unreadable row for the file", "pdf.jsonl", lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", ["the file is not JSONL: it begins like PDF"]),
    Case(WHOLE, "PDF called .csv", "one unreadable row for the file", "pdf.csv", lambda _: b"%PDF-1.7\n1 0 obj\n", ["the file is not CSV: it begins like PDF"]),
    Case(WHOLE, "gzip called .jsonl", "one unreadable row for the file", "gzip.jsonl", packed(gzip.compress, one()), ["the file is not JSONL: it begins like gzip"]),
    Case(WHOLE, "Parquet called .jsonl", "one unreadable row for the file", "parquet.jsonl", parquet(("answer", column("一"))), ["the file is not JSONL: it begins like Parquet"]),
    Case(WHOLE, "a spreadsheet called .csv", "one unreadable row for the file", "sheet.csv", lambda _: b"PK\x03\x04\x14\x00\x06\x00", ["the file is not CSV: it begins like zip"]),
]  # fmt: skip

PASSED_OVER = "passed over"


@dataclass(frozen=True)
class Place:
    """A file by its name and place in an input folder. `fate`: JUDGED, PASSED_OVER or the beginning of a reason."""

    title: str
    name: str
    fate: str
    link: str | None = None


PLACES = [
    Place("`.DS_Store`, `_SUCCESS`, `README.md`, `part.jsonl.tmp`: no known format", "_SUCCESS", PASSED_OVER),
    Place("`.DS_Store`, `_SUCCESS`, `README.md`, `part.jsonl.tmp`: no known format", ".DS_Store", PASSED_OVER),
    Place("`.DS_Store`, `_SUCCESS`, `README.md`, `part.jsonl.tmp`: no known format", "README.md", PASSED_OVER),
    Place("`.DS_Store`, `_SUCCESS`, `README.md`, `part.jsonl.tmp`: no known format", "part.jsonl.tmp", PASSED_OVER),
    Place("hidden files and folders, for instance `.ipynb_checkpoints`", ".hidden.jsonl", PASSED_OVER),
    Place("hidden files and folders, for instance `.ipynb_checkpoints`", ".ipynb_checkpoints/a.jsonl", PASSED_OVER),
    Place("folders that begin with `_`, for instance `_temporary`, `_delta_log`", "_temporary/0/a.jsonl", PASSED_OVER),
    Place("a file that begins with `_`", "_part.jsonl", JUDGED),
    Place("nested folders", "nested/deeper/a.jsonl", JUDGED),
    Place("a folder of parts called `x.parquet`", "parts.parquet/part-0.jsonl", JUDGED),
    Place("a link to a folder elsewhere", "linked", JUDGED, link="../elsewhere"),
    Place("a link to a folder around it", "nested/loop", PASSED_OVER, link=".."),
    Place("a second link to the same file", "z-again.jsonl", PASSED_OVER, link="a b.jsonl"),
    Place("a link that leads nowhere", "gone.jsonl", "the file is a link that leads nowhere", link="nowhere.jsonl"),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "a b.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "小说 一.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "a#b?c.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "a%20b.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "a:1.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "[x]*.jsonl", JUDGED),
    Place("a name with blanks, Chinese, `#`, `%`, `:`, `*`, a line break", "a\nb.jsonl", JUDGED),
    Place("a name in capitals, `A.JSONL`", "A.JSONL", JUDGED),
    Place("a name that is not UTF-8", b"\xc4\xe3.jsonl".decode("utf-8", "surrogateescape"), "the name of the file is not UTF-8; rename it"),
]  # fmt: skip
