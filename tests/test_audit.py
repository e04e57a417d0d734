"""m3e audit: 50 planted problems of all kinds, found and explained; nothing said of the rows beside them."""

from __future__ import annotations

import gzip
import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.audit import Audit, Given, audit
from pipeline.audit.columns import choose_sides
from pipeline.audit.show import page, told
from pipeline.audit.table import read_table
from pipeline.errors import FormatError, UsageError
from pipeline.manifest.catalog import read_catalog
from tests.command import m3e
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import run

#: Common characters without digits, negations, and what rules of quality look for.
WORDS = (
    "的一是在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然"
    "起发当成只如事把还用第样看意经已开新前所面公月手长现日头定见美间文身其员百进实政产民力法结最合口水化高解车强教向变原数风"
)
EMAIL, PHONE, CARD, ID = "wang.li@mail.m3e.cn", "13912345678", "6222 0212 3456 7894", "11010519491231002X"
BENCHMARK = {
    "name": "exam",
    "task": "Exam",
    "source": {"kind": "local", "root": "../files"},
    "splits": ["test"],
    "parts": [
        {
            "files": {"test": "exam.jsonl"},
            "layout": "jsonl",
            "columns": {"q": "string", "p": "string"},
            "texts": [{"role": "query", "text": "q"}, {"role": "positive", "text": "p"}],
            "pairs": [{"text": "q", "other": "p"}],
        }
    ],
}


@dataclass
class Planting:
    """Rows of a jsonl file and what is wrong with which: (row, kind) -> words that the explanation must hold."""

    rng: random.Random = field(default_factory=lambda: random.Random(7))
    lines: list[str] = field(default_factory=list)
    planted: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)

    def text(self, chars: int = 24) -> str:
        return "".join(self.rng.choices(WORDS, k=chars))

    def add(self, query: Any = None, positive: Any = None, negatives: Any = ()) -> int:
        told = {
            "query": self.text() if query is None else query,
            "pos": self.text(40) if positive is None else positive,
        }
        return self.line(json.dumps({**told, "neg": list(negatives) or [self.text(40)]}, ensure_ascii=False))

    def line(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    def rows_text(self, kind: str) -> str:
        """The query of the first row of a kind."""
        row = min(row for row, planted in self.planted if planted == kind)
        return str(json.loads(self.lines[row - 1])["query"])

    def plant(self, row: int, kind: str, *words: str) -> None:
        assert (row, kind) not in self.planted
        self.planted[row, kind] = words


def edited(text: str) -> str:
    """Another last character: of n shingles of three n - 1 stay, a Jaccard of (n - 1) / (n + 1)."""
    return text[:-1] + "呀"


def plant(make: Planting, build: dict[str, Any], exam: list[tuple[str, str]]) -> None:
    """50 problems; `build` names pairs that a build keeps, removed and judged, `exam` queries with their positives."""
    for _ in range(40):
        make.add()
    # 3 malformed rows
    make.plant(make.line('{"query": "半'), "malformed", "not JSON")
    make.plant(make.line(json.dumps({"query": 7, "pos": "好", "neg": []})), "malformed", "query")
    make.plant(make.line(json.dumps({"query": make.text(), "neg": []}, ensure_ascii=False)), "malformed", "pos")
    # 8 of quality
    same = make.text()
    make.plant(make.add(same, same + "。"), "equal_sides", "same")
    make.plant(make.add(None, "……"), "empty_side", "empty")
    make.plant(make.add("好", None), "too_short", "short")
    make.plant(make.add(None, "สวัสดีครับ ยินดีต้อนรับ สู่ประเทศไทย"), "script_ratio", "letters")
    make.plant(make.add(None, f"{make.text()} [url=http://x] {make.text()}"), "markup", "markup")
    make.plant(make.add(None, make.text(6) * 12), "repetition", "repeats")
    make.plant(make.add(None, "很抱歉，作为一个人工智能语言模型，我无法回答" + make.text(8)), "refusal", "refuses")
    make.plant(make.add("求助", None), "generic_title", "title")
    # 8 of benchmarks
    (q0, p0), (q1, _), (q2, _), (short, answer), (q4, p4), (q5, _) = exam
    make.plant(make.add(q0), "benchmark_query", "benchmark Exam")
    make.plant(make.add(None, edited(q1)), "benchmark_query", "benchmark Exam")
    make.plant(make.add(q2 + "？！"), "benchmark_query", "benchmark Exam")
    make.plant(make.add(short, answer), "benchmark_pair", "benchmark Exam")
    make.plant(make.add(f"请回答下面的问题：{q4}谢谢{make.text(30)}"), "benchmark_inside", "benchmark Exam")
    make.plant(make.add(None, p0), "benchmark_positive", "benchmark Exam")
    make.plant(make.add(None, edited(p4)), "benchmark_positive", "benchmark Exam")
    make.plant(make.add(None, None, [make.text(), q5]), "benchmark_negative", "negative 2", "benchmark Exam")
    # 7 copies within the file
    for change in (str, lambda text: f"「{text}」！", edited):
        text, pos = make.text(30), make.text(60)
        first = make.add(text, pos)
        kind = "near_duplicate" if change is edited else "exact_duplicate"
        make.plant(make.add(change(text), pos), kind, f"row {first}")
        make.plant(make.add(text, change(pos)), kind, f"row {first}")
    text, pos = make.text(30), make.text(60)
    first = make.add(text, pos)
    make.plant(make.add(edited(text), edited(pos)), "near_duplicate", f"row {first}")
    # 4 of records of the build
    for number, (text, pos) in enumerate(build["kept"][:4]):
        near = number > 1
        kind = "near_duplicate" if near else "exact_duplicate"
        make.plant(make.add(edited(text) if near else text, pos), kind, "one ", build["ids"][text, pos])
    # 12 false negatives
    for change in (str, lambda text: f"{text}。", edited):
        text, pos = make.text(30), make.text(60)
        make.plant(make.add(text, pos, [make.text(), change(text)]), "negative_is_text", "negative 2")
        make.plant(make.add(None, pos := make.text(60), [change(pos)]), "negative_is_positive", "negative 1")
    for change in (str, edited):
        text, pos = make.text(30), make.text(60)
        first = make.add(text, pos)
        make.plant(make.add(text + "？", None, [change(pos)]), "negative_is_known_positive", f"row {first}")
    for text, pos in (build["kept"][4], build["removed"]):
        make.plant(make.add(text, None, [pos]), "negative_is_known_positive", "one ", build["ids"][text, pos])
    text, pos = build["kept"][5]
    make.plant(make.add(edited(text), None, [edited(pos)]), "negative_is_known_positive", build["ids"][text, pos])
    text, other = build["match"]
    make.plant(make.add(other, None, [text]), "negative_is_judged_match", "judged")
    # 8 of personal data
    make.plant(make.add(f"{make.text()}{PHONE}"), "phone", "telephone")
    make.plant(make.add(None, f"{make.text()}（+86 139-1234-5678）{make.text()}"), "phone", "text_pos")
    make.plant(make.add(None, None, [f"{make.text(30)}{PHONE}"]), "phone", "negative 1")
    make.plant(make.add(f"{make.text()} {EMAIL}"), "email", "e-mail")
    make.plant(make.add(None, f"{make.text()}{EMAIL}，{make.text()}"), "email", "text_pos")
    make.plant(make.add(f"{make.text()}身份证{ID}"), "id_card", "identity")
    make.plant(make.add(None, f"{make.text()}卡号{CARD}"), "bank_card", "bank card")
    make.plant(make.add(None, f"{make.text()}卡号{CARD.replace(' ', '')}。"), "bank_card", "bank card")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Manifests with a benchmark, a build that kept, removed and judged pairs, and the planted file."""
    home = tmp_path_factory.mktemp("audit")
    make = Planting()
    kept = [(make.text(30), make.text(60)) for _ in range(6)]
    copy = (kept[0][0], make.text(60))
    removed = (copy[0], copy[1])
    match = (make.text(20), make.text(20))
    told = corpus("one")
    told["parts"][0]["columns"] |= {"label": "int"}
    told["parts"][0]["select"] |= {"where": "label = 2"}
    told["parts"][0]["labelled"] = {"text": "q", "other": "a", "match": "label = 1", "where": "label < 2"}
    manifests = write_manifests(
        home / "manifests", [told], {"name": "small", "cap": {"positives_per_text": 1}}, [BENCHMARK]
    )
    rows = [{"q": q, "a": a, "label": 2} for q, a in [*kept, removed]]
    rows += [{"q": match[0], "a": match[1], "label": 1}, {"q": kept[1][0], "a": make.text(), "label": 0}]
    write_rows(manifests, "one", rows)
    exam = [(make.text(20), make.text(60)) for _ in range(6)]
    exam[3] = ("为啥呀", "好吃嘛")
    (manifests / "files" / "exam.jsonl").write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in exam))
    path, _, _ = run(manifests, home)
    texts = pl.read_parquet(home / "store/convert/*/text-*.parquet", columns=["record_id", "text", "text_pos"])
    ids = {(text, pos): record_id for record_id, text, pos in texts.iter_rows()}
    held = set(pl.read_parquet(path / "data/one/*.parquet")["record_id"])
    # Which of the two positives of one text the cap left out is the build's affair.
    if ids[removed] in held:
        kept[0], removed = removed, kept[0]
    plant(make, {"kept": kept, "removed": removed, "match": match, "ids": ids}, exam)
    file = home / "pairs.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(make.lines).encode() + b"\n"))
    return {"home": home, "manifests": manifests, "build": path, "make": make, "file": file}


@pytest.fixture(scope="module")
def found(ground: dict[str, Any]) -> Audit:
    catalog = read_catalog([ground["manifests"]], shipped=False)
    return audit(ground["file"], catalog, ground["home"] / "store", Given(), build=ground["build"])


def test_of_50_planted_problems_all_are_found_and_explained(ground: dict[str, Any], found: Audit) -> None:
    planted = ground["make"].planted
    assert len(planted) == 50
    lines = {(line["row"], line["kind"]): line for line in found.findings.to_dicts()}
    missed = {key: words for key, words in planted.items() if key not in lines}
    assert not missed
    for key, words in planted.items():
        line = lines[key]
        said = f"{line['side']} {line['told']} {line['other']}"
        assert all(word in said for word in words), (key, words, line)
        if "near" in key[1] or "exact" in key[1]:
            assert (line["similarity"] == 1) == ("exact" in key[1])
            assert line["similarity"] >= 0.8


def test_nothing_is_said_of_clean_rows(ground: dict[str, Any], found: Audit) -> None:
    planted = ground["make"].planted
    odd = {(line["row"], line["kind"]) for line in found.findings.to_dicts()} - set(planted)
    # What was planted is sometimes two things at once: a copy of a pair of the build is a pair that the build knows.
    assert {row for row, _ in odd} <= {row for row, _ in planted}
    assert len(odd) <= 3, sorted(odd)
    assert found.rows_hit == len({row for row, _ in planted})
    assert found.rows["read"] == len(ground["make"].lines)


def test_licences_of_what_is_repeated(found: Audit) -> None:
    assert found.licences == (("CC0-1.0", "allowed", "allowed", 4),)


def test_similarities_are_true_jaccards(ground: dict[str, Any], found: Audit) -> None:
    """Sets of three characters, computed on plain strings."""
    rows = [json.loads(line) if line.endswith("}") else {} for line in ground["make"].lines]

    def shingles(text: str) -> set[str]:
        key = re.sub(r"\W", "", text)
        return {key[i : i + 3] for i in range(len(key) - 2)}

    near = found.findings.filter((pl.col("kind") == "near_duplicate") & pl.col("other").str.starts_with("row "))
    assert near.height == 3
    for line in near.to_dicts():
        mine, other = rows[line["row"] - 1], rows[int(line["other"][4:]) - 1]
        sides = [(shingles(mine[side]), shingles(other[side])) for side in ("query", "pos")]
        assert line["similarity"] == pytest.approx(min(len(a & b) / len(a | b) for a, b in sides))


def test_the_verb_its_page_and_its_exit_code(ground: dict[str, Any]) -> None:
    words = ("--manifests", ground["manifests"], "--store", ground["home"] / "store", "--benchmarks", "exam")
    clean = ground["home"] / "clean.tsv"
    make = Planting(random.Random(3))
    clean.write_text("question\tanswer\n" + "".join(f"{make.text()}\t{make.text()}\n" for _ in range(9)), "utf-8")
    done = m3e("audit", clean, *words, "--strict")
    assert done.returncode == 0, done.stderr
    assert "nothing was found" in done.stdout
    page_at, lines = ground["home"] / "report.html", ground["home"] / "findings.csv"
    done = m3e("audit", ground["file"], *words, "--strict", "--out", page_at, "--findings", lines)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "benchmark_inside" in done.stdout
    html = page_at.read_text("utf-8")
    assert "negative_is_text" in html
    assert "<script" not in html
    assert not re.search(r"(?:src=|href=\"[^#])", html)
    assert ground["make"].rows_text("refusal") in html
    assert PHONE not in html
    assert pl.read_csv(lines).height > 40
    assert not list((ground["home"] / "store/audit").iterdir())


def test_json_and_page_say_the_same(found: Audit) -> None:
    counted = told(found)
    assert sum(counted["counts"].values()) == len(counted["findings"]) == found.findings.height
    assert all(kind in page(found) for kind in counted["counts"])


ROWS = [{"question": "怎么开发票", "answer": "在订单页申请", "n1": "明天下雨", "n2": "后天也下"}]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.gbk.csv"])
def test_layouts_are_told_by_their_opening(tmp_path: Path, ground: dict[str, Any], name: str) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_bytes(
            "question,answer,n1,n2\n怎么开发票,在订单页申请,明天下雨,后天也下\n".encode(
                "gbk" if "gbk" in name else "utf-8"
            )
        )
    elif name == "a.tsv":
        path.write_text("question\tanswer\tn1\tn2\n怎么开发票\t在订单页申请\t明天下雨\t后天也下\n", "utf-8-sig")
    elif name == "a.parquet":
        pl.DataFrame(ROWS).write_parquet(path)
    else:
        path.write_text(
            json.dumps(ROWS if name == "a.json" else ROWS[0], indent=1 if name == "a.json" else None), "utf-8"
        )
    catalog = read_catalog([ground["manifests"]], shipped=False)
    seen = audit(path, catalog, ground["home"] / "store", Given(negatives=("n1", "n2")))
    assert (seen.sides.text, seen.sides.text_pos) == ("question", "answer")
    assert (seen.rows["read"], seen.rows["records"], seen.counts) == (1, 1, {})


def test_columns_that_cannot_be_told_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta,label\n一,二,1\n", "utf-8")
    with pytest.raises(UsageError, match=r"alpha, beta, label.*--text COLUMN"):
        choose_sides(read_table(path), Given())
    sides = choose_sides(read_table(path), Given("beta", "alpha"))
    assert (sides.text, sides.unused) == ("beta", ("label",))
    assert "not looked at: label (--where" in sides.sentence()
    with pytest.raises(UsageError, match="gamma"):
        choose_sides(read_table(path), Given("gamma", "alpha"))
    path.write_text("question,answer,title,content\n一,二,三,四\n", "utf-8")
    with pytest.raises(UsageError, match=r"\(question, answer\) or \(title, content\)"):
        choose_sides(read_table(path), Given())
    path.write_text("", "utf-8")
    with pytest.raises(FormatError, match="empty"):
        read_table(path)


@pytest.mark.parametrize(
    ("header", "sides"),
    [
        ("text,text_pos,text_neg,prompt", ("text", "text_pos", ("text_neg",))),
        ("Query,Positive,negative_1,negative_2", ("Query", "Positive", ("negative_1", "negative_2"))),
        ("anchor,positive,hard negatives,negation", ("anchor", "positive", ("hard negatives",))),
        ("sentence1,sentence2,label", ("sentence1", "sentence2", ())),
        ("id,title,content", ("title", "content", ())),
        ("instruction,output,neg_output", ("instruction", "output", ("neg_output",))),
        ("premise,hypothesis", ("premise", "hypothesis", ())),
    ],
)
def test_usual_names_are_known(tmp_path: Path, header: str, sides: tuple[str, str, tuple[str, ...]]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(header + "\n" + ",".join("一二三四"[: header.count(",") + 1]) + "\n", "utf-8")
    chosen = choose_sides(read_table(path), Given())
    assert (chosen.text, chosen.text_pos, chosen.negatives) == sides


def test_a_condition_leaves_rows_out(tmp_path: Path, ground: dict[str, Any]) -> None:
    path = tmp_path / "judged.jsonl"
    rows = [{"sentence1": "怎么开发票", "sentence2": "发票怎么开", "label": n} for n in (1, 0)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    catalog = read_catalog([ground["manifests"]], shipped=False)
    seen = audit(path, catalog, ground["home"] / "store", Given(where="label = 1"))
    assert (seen.rows["used"], seen.rows["filtered"], seen.counts) == (1, 1, {})
    assert seen.sides.symmetric
