"""Rows as the publishers of the external corpora write them, made up for the tests, and the records they must give.

Each row has the publisher's fields, those the manifest does not read too; the traps are those of the real files: empty
SQL, questions without an answer, replies that are not the best, escaped line breaks, a repeated positive with a negative.
"""

from __future__ import annotations

from typing import Any

from tests.external_case import Case, Judged, Pair
from tests.external_rows_en import CONALA, MBPP, MEDI, MINED


def sql(question: str, query: str, db: str, number: int) -> dict[str, Any]:
    parsed: Any = {"orderBy": None, "limit": None} if query else ""
    return {"db_id": db, "question": question, "question_id": f"qid{number:06}", "query": query, "sql": parsed}


DUSQL = Case(
    rows=(
        [
            sql("票房最高的三部电影叫什么？", "select 片名 from 电影 order by 票房 desc limit 3", "电影票房", 1),
            sql("哪些电影的票房不低于2亿元？", "select 片名 from 电影 where 票房 >= 200000000", "电影票房", 2),
            sql("人口最多的城市是哪座？", "", "城市", 3),
            sql("人口超过300万的城市有几座？", " select count ( * ) from 城市 where 人口 > 3000000 ", "城市", 4),
        ],
    ),
    pairs=(
        Pair(0, "票房最高的三部电影叫什么？", "select 片名 from 电影 order by 票房 desc limit 3"),
        Pair(1, "哪些电影的票房不低于2亿元？", "select 片名 from 电影 where 票房 >= 200000000"),
        Pair(3, "人口超过300万的城市有几座？", "select count ( * ) from 城市 where 人口 > 3000000"),
    ),
    prompts=("SQL", ""),
)
NL2SQL = Case(
    rows=(
        [
            sql("周口上周的成交量", 'SELECT 近7日成交 WHERE 城市 == "周口"', "a7b2", 1),
            sql("市盈率在20以下的公司有哪些", "", "c901", 2),
            sql("2012年每股收益大于1的公司", 'SELECT 公司 WHERE EPS2012 > "1"', "c901", 3),
        ],
    ),
    pairs=(
        Pair(0, "周口上周的成交量", 'SELECT 近7日成交 WHERE 城市 == "周口"'),
        Pair(2, "2012年每股收益大于1的公司", 'SELECT 公司 WHERE EPS2012 > "1"'),
    ),
    prompts=("SQL", ""),
)
CSPIDER = Case(
    rows=(
        [
            sql("有多少艘船是“货”船？", 'SELECT count(*) FROM ship WHERE type  =  "Cargo"', "ships", 1),
            sql("列出所有港口的名字。", "SELECT name FROM port\r\nORDER BY name", "ships", 2),
            sql("谁是船长？", "", "ships", 3),
        ],
    ),
    pairs=(
        Pair(0, "有多少艘船是“货”船？", 'SELECT count(*) FROM ship WHERE type  =  "Cargo"'),
        Pair(1, "列出所有港口的名字。", "SELECT name FROM port\nORDER BY name"),
    ),
    prompts=("SQL", ""),
)
IDIOMS = [("画龙点睛", "点睛之笔", "entailment"), ("井底之蛙", "见多识广", "contradiction")]
IDIOMS += [("守株待兔", "守株待兔", "entailment"), ("风和日丽", "三人成虎", "neutral")]
CINLID = Case(
    rows=([{"phrase1": a, "phrase2": b, "label": label} for a, b, label in IDIOMS],),
    variants={0: ([{"sentence1": a, "sentence2": b, "label": label} for a, b, label in IDIOMS],)},
    pairs=(Pair(0, "画龙点睛", "点睛之笔"), Pair(2, "守株待兔", "守株待兔")),
    judged=(
        Judged(0, "画龙点睛", "点睛之笔", True),
        Judged(1, "井底之蛙", "见多识广", False),
        Judged(2, "守株待兔", "守株待兔", True),
        Judged(3, "风和日丽", "三人成虎", False),
    ),
    prompts=("相似", "相似"),
)
SIMCLUE = Case(
    rows=(
        [
            {"query": "手机屏幕碎了去哪里修", "title": "手机碎屏在哪儿可以修"},
            {"query": "怎么腌糖蒜", "title": "糖蒜的腌制方法"},
        ],
        [
            {"query": "怎么腌糖蒜", "title": "糖蒜的腌制方法", "neg_title": "糖蒜吃多了好不好"},
            {"query": "怎么腌糖蒜", "title": "糖蒜的腌制方法", "neg_title": "怎么腌咸鸭蛋"},
        ],
        [
            {"sentence1": "怎么腌糖蒜", "sentence2": "糖蒜的腌制方法", "label": "1"},
            {"sentence1": "明天会下雨吗", "sentence2": "明天会刮风吗", "label": "0"},
        ],
    ),
    pairs=(
        Pair(0, "手机屏幕碎了去哪里修", "手机碎屏在哪儿可以修"),
        Pair(1, "怎么腌糖蒜", "糖蒜的腌制方法"),
        Pair(0, "怎么腌糖蒜", "糖蒜的腌制方法", ("糖蒜吃多了好不好",), part=1),
        Pair(1, "怎么腌糖蒜", "糖蒜的腌制方法", ("怎么腌咸鸭蛋",), part=1),
    ),
    judged=(
        Judged(0, "怎么腌糖蒜", "糖蒜的腌制方法", True, part=2),
        Judged(1, "明天会下雨吗", "明天会刮风吗", False, part=2),
    ),
    prompts=("相似", "相似"),
)


def question(text: str, answer: str | None, number: int) -> dict[str, Any]:
    """A question of SQuAD 2.0; without an answer it has a plausible one, as there."""
    found = [{"text": answer, "answer_start": 0}] if answer else []
    more = {} if answer else {"plausible_answers": [{"text": "石灰岩", "answer_start": 4}]}
    return {"question": text, "id": f"56{number:04x}", "answers": found, "is_impossible": not answer} | more


CAVE = "溶洞多在石灰岩地区，由含有二氧化碳的地下水慢慢溶蚀而成。"
TEA = "茯茶产于陕西泾阳，压成砖后还要发花，砖里长出金黄色的菌粒。"
SQUAD = Case(
    rows=(
        [
            {
                "title": "溶洞",
                "paragraphs": [
                    {
                        "context": CAVE,
                        "qas": [
                            question("溶洞多在什么地区？", "石灰岩", 1),
                            question("最大的溶洞叫什么？", None, 2),
                            question("什么水溶蚀出溶洞？", "地下水", 5),
                        ],
                    },
                    {"context": "洞顶垂下来的叫钟乳石。", "qas": [question("从洞顶垂下来的是什么？", "钟乳石", 3)]},
                ],
            },
            {"title": "茯茶", "paragraphs": [{"context": TEA, "qas": [question("茯茶产于哪里？", "陕西泾阳", 4)]}]},
        ],
    ),
    pairs=(
        Pair(0, "溶洞多在什么地区？", CAVE, family=CAVE),
        Pair(2, "什么水溶蚀出溶洞？", CAVE, family=CAVE),
        Pair(3, "从洞顶垂下来的是什么？", "洞顶垂下来的叫钟乳石。"),
        Pair(4, "茯茶产于哪里？", TEA),
    ),
    prompts=("问答", ""),
)
LAWZHIDAO = Case(
    rows=(
        [
            {
                "title": "租房合同没到期房东要收回房子",
                "question": "合同还有半年，房东说要自住，我能要求赔偿吗？",
                "reply": "可以，先看合同里的违约条款，\n没有约定的按实际损失主张。",
                "is_best": "1",
            },
            {"title": "租房合同没到期房东要收回房子", "question": "", "reply": "找居委会说说。", "is_best": "0"},
            {
                "title": "试用期被辞退有补偿吗",
                "question": " 试用期被辞退有补偿吗 ",
                "reply": '单位说不出"不符合录用条件"的，应当支付赔偿金。',
                "is_best": "1",
            },
            {"title": "邻居装修漏水", "question": "", "reply": "保留照片，请物业到场见证。", "is_best": "1"},
        ],
    ),
    pairs=(
        Pair(
            0,
            "租房合同没到期房东要收回房子 合同还有半年，房东说要自住，我能要求赔偿吗？",
            "可以，先看合同里的违约条款，\n没有约定的按实际损失主张。",
        ),
        Pair(2, "试用期被辞退有补偿吗", '单位说不出"不符合录用条件"的，应当支付赔偿金。'),
        Pair(3, "邻居装修漏水", "保留照片，请物业到场见证。"),
    ),
    prompts=("问答", ""),
)


def news(title: str, content: str, number: int) -> dict[str, Any]:
    more = {"keywords": "社区，图书馆", "desc": content[:6], "source": "河湾晚报", "time": "03-22 12:00"}
    return {"news_id": f"{number:09}", "title": title, "content": content} | more


NEWS = Case(
    rows=(
        [
            news("河湾社区图书馆周末延长开放", "记者从河湾社区了解到，图书馆周六周日开到晚上九点。", 1),
            news("雨后早市恢复营业", "停了三天的早市今早恢复，菜价比上周低一成。", 2),
        ],
    ),
    pairs=(
        Pair(0, "河湾社区图书馆周末延长开放", "记者从河湾社区了解到，图书馆周六周日开到晚上九点。"),
        Pair(1, "雨后早市恢复营业", "停了三天的早市今早恢复，菜价比上周低一成。"),
    ),
    prompts=("摘要", ""),
)


def baike(title: str, desc: str, answer: str, number: int) -> dict[str, Any]:
    return {"qid": f"qid_{number}", "category": "生活-美食/烹饪", "title": title, "desc": desc, "answer": answer}


BAIKE = Case(
    rows=(
        [
            baike("冬天泡菜坛子放哪里好？ ", "", "你好！\r\r放阴凉处，坛沿的水别干。\r\n三天换一次水。", 7),
            baike("红薯怎么存放", "红薯怎么存放", "晾两天再放进纸箱，别沾水。", 8),
            baike("阳台种葱", "花盆多深合适？要不要晒太阳？", "二十厘米就够，每天晒半天。", 9),
        ],
    ),
    pairs=(
        Pair(0, "冬天泡菜坛子放哪里好？", "你好！\n\n放阴凉处，坛沿的水别干。\n三天换一次水。"),
        Pair(1, "红薯怎么存放", "晾两天再放进纸箱，别沾水。"),
        Pair(2, "阳台种葱 花盆多深合适？要不要晒太阳？", "二十厘米就够，每天晒半天。"),
    ),
    prompts=("问答", ""),
)


def answered(qid: int, title: str, desc: str, content: str, star: int) -> dict[str, Any]:
    more = {"topic": "骑行", "answer_id": qid * 10 + star, "answerer_tags": "骑行@修车"}
    return {"qid": qid, "title": title, "desc": desc, "star": star, "content": content} | more


BIKE = "通勤要不要买折叠车？", "路程六公里，<br>公司有车棚。"
WEBTEXT = Case(
    rows=(
        [
            answered(65001, *BIKE, "六公里用普通公路车就行，<br/>折叠车骑着累。", 12),
            answered(65001, *BIKE, "要上地铁就买折叠车。", 3),
            answered(65002, "链条多久上一次油？", "", "淋过雨就上，&lt;br&gt;平时两百公里一次。", 5),
        ],
    ),
    pairs=(
        Pair(
            0,
            "通勤要不要买折叠车？ 路程六公里，\n公司有车棚。",
            "六公里用普通公路车就行，\n折叠车骑着累。",
            family="65001",
            quality=12.0,
        ),
        Pair(
            1,
            "通勤要不要买折叠车？ 路程六公里，\n公司有车棚。",
            "要上地铁就买折叠车。",
            family="65001",
            quality=3.0,
        ),
        Pair(2, "链条多久上一次油？", "淋过雨就上，\n平时两百公里一次。", family="65002", quality=5.0),
    ),
    prompts=("问答", ""),
)
CASES = {
    "CINLID": CINLID,
    "CSpider": CSPIDER,
    "Chinese-SQuAD": SQUAD,
    "DuSQL": DUSQL,
    "SimCLUE": SIMCLUE,
    "Zhuiyi-NL2SQL": NL2SQL,
    "baike2018qa": BAIKE,
    "conala": CONALA,
    "conala-mined": MINED,
    "lawzhidao": LAWZHIDAO,
    "mbpp": MBPP,
    "medi": MEDI,
    "news2016zh": NEWS,
    "webtext2019zh": WEBTEXT,
}
