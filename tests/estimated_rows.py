"""Rows for tests of the estimate."""

from typing import Any

STREETS = ("巷口", "桥头", "河边", "车站", "书店")


def triplets(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"t{n}",
            "query": f"写{STREETS[n % 5]}的一件旧物，{n}字以内。" * (1 + n % 4),
            "thought": f"先想旧物，再想第{n}个人在等谁。" * (2 + n % 3),
            "answer": f"{STREETS[n % 5]}的修表匠说，第{n}只表走得慢。" * (3 + 7 * n % 40),
            "genre": ("散文", "诗歌")[n % 2],
        }
        for n in range(count)
    ]
