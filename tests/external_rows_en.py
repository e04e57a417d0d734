"""The English ones among the made-up rows of the external corpora: MEDI and the code corpora."""

from __future__ import annotations

from typing import Any

from tests.external_case import Case, Pair

ASK, DOC = "Represent the question for retrieving evidence documents;", "Represent the document for retrieval;"
TITLE = "Represent the Science title;"
MEDI = Case(
    rows=(
        [
            {
                "query": [ASK, "how do bats find moths"],
                "pos": [DOC, "Echolocation Bats call and listen\nfor the echo of a moth."],
                "neg": [DOC, "Moths Most moths fly at night."],
                "task_name": "NQ",
            },
            {
                "query": [TITLE, "Salt marshes and storm waves"],
                "pos": [TITLE, "Wave attenuation over coastal marsh"],
                "neg": [TITLE, "Salt in bread dough"],
                "task_name": "specter_train_triples",
            },
        ],
    ),
    pairs=(
        Pair(
            0,
            "how do bats find moths",
            "Echolocation Bats call and listen\nfor the echo of a moth.",
            ("Moths Most moths fly at night.",),
            (ASK, DOC),
        ),
        Pair(
            1,
            "Salt marshes and storm waves",
            "Wave attenuation over coastal marsh",
            ("Salt in bread dough",),
            (TITLE, TITLE),
        ),
    ),
    prompts=("", ""),
)


def problem(number: int, text: str, code: str) -> dict[str, Any]:
    return {"task_id": number, "text": text, "code": code, "test_list": ["assert True"], "test_setup_code": ""}


HALVE = problem(601, "Write a function to halve a number.", "def halve(n):\r\n\treturn n / 2  \r\n")
LAST = problem(974, "Write a python function to give the last item.", "def last(items):\r\n    return items[-1]")
MBPP = Case(
    rows=([HALVE, LAST],),
    variants={0: ([HALVE, LAST, problem(600, "Write a function to add.", "def add(a, b):\r\n    return a + b")],)},
    pairs=(
        Pair(0, "Write a function to halve a number.", "def halve(n):\n\treturn n / 2"),
        Pair(1, "Write a python function to give the last item.", "def last(items):\n    return items[-1]"),
    ),
    prompts=("代码", ""),
)


def intent(number: int, asked: str, rewritten: str | None, snippet: str) -> dict[str, Any]:
    return {"question_id": number, "intent": asked, "rewritten_intent": rewritten, "snippet": snippet}


CONALA = Case(
    rows=(
        [
            intent(31, "How to join words?", "join list `words` with a dash", "'-'.join(words)"),
            intent(31, "How to join words?", None, "print('-'.join(words))"),
            intent(32, "python: count lines", "", "for line in f:\n    n += 1"),
        ],
    ),
    pairs=(
        Pair(0, "join list `words` with a dash", "'-'.join(words)", family="31"),
        Pair(1, "How to join words?", "print('-'.join(words))", family="31"),
        Pair(2, "python: count lines", "for line in f:\n    n += 1", family="32"),
    ),
    prompts=("代码", ""),
)


def mined(number: int, asked: str, snippet: str, prob: float) -> dict[str, Any]:
    more = {"parent_answer_post_id": number + 1, "id": f"{number}_{number + 1}_0"}
    return {"question_id": number, "intent": asked, "snippet": snippet, "prob": prob} | more


MINED = Case(
    rows=(
        [
            mined(40, "Sort a dict by value in Python", "sorted(d, key=d.get)", 0.875),
            mined(40, "Sort a dict by value in Python", "print(d)", 0.25),
            mined(41, "Read a file into a list", "lines = open(name).readlines()", 0.5),
        ],
    ),
    pairs=(
        Pair(0, "Sort a dict by value in Python", "sorted(d, key=d.get)", family="40", quality=0.875),
        Pair(2, "Read a file into a list", "lines = open(name).readlines()", family="41", quality=0.5),
    ),
    prompts=("代码", ""),
)
