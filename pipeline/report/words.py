"""What the words of a build mean, for a reader who has not read the code: in English and in Chinese."""

from __future__ import annotations

#: Reasons of removal and flags -> what they mean.
REASONS = {
    "tombstone": ("asked to be taken out: listed in tombstones.txt", "应要求删除：列于 tombstones.txt"),
    "empty_side": ("one side is empty after cleaning", "清洗后有一侧为空"),
    "equal_sides": ("both sides say the same", "两侧内容相同"),
    "too_short": ("a side is shorter than min_chars", "有一侧短于 min_chars"),
    "too_long": ("a side is longer than max_chars", "有一侧长于 max_chars"),
    "script_ratio": ("too little of the script the corpus is in", "本语料文字所占比例过低"),
    "markup": ("leftover markup", "残留标记"),
    "repetition": ("a text repeats itself", "文本自我重复"),
    "refusal": ("a model refuses or speaks of itself", "模型拒答或谈论自己"),
    "template_opening": ("an opening shared by too many texts", "过多文本共用同一开头"),
    "hub_positive": ("one positive for too many texts", "同一正例对应过多文本"),
    "generic_title": ("a title that says nothing", "空泛的标题"),
    "benchmark_query": ("holds a query of a benchmark", "含评测集的查询"),
    "benchmark_pair": ("both sides are a pair of a benchmark", "两侧正是评测集的一对"),
    "benchmark_joined": ("both sides together are a text of a benchmark", "两侧合起来是评测集的一条文本"),
    "benchmark_inside": ("a benchmark's query stands inside the text", "文本中嵌有评测集的查询"),
    "benchmark_positive": ("holds a positive passage of a benchmark", "含评测集的正例段落"),
    "benchmark_negative": ("a negative was a benchmark's text and was taken out", "一条负例是评测集文本，已单独取出"),
    "corpus_overlap": ("holds a passage that a benchmark searches through", "含评测集检索库中的段落"),
    "contaminated": ("matches a benchmark", "与评测集重合"),
    "rank": ("the positive is not among the nearest texts of its corpus", "正例不在本语料最近的文本之列"),
    "use_class": ("its terms do not fit the recipe", "条款不合配方要求"),
    "exact_duplicate": ("a kept record, but for punctuation, case or script", "与保留的记录只差标点、大小写或繁简"),
    "near_duplicate": ("nearly a kept record, on both sides", "两侧都与保留的记录近似"),
    "swapped_duplicate": ("a kept record with its sides exchanged", "与保留的记录左右互换"),
    "positives_per_text": ("more positives of one text than the cap", "同一文本的正例超出上限"),
    "keeper_over_cap": ("duplicate of a record that fell to the cap", "所重复的记录因上限被删"),
}
#: Columns of the funnel, stages, use classes, roles and origins, in Chinese; their English is the word itself.
CHINESE = {
    "kept": "保留",
    "quality": "质量",
    "leaked": "评测泄漏",
    "decontaminate": "去污染",
    "consistency": "一致性",
    "licence": "许可",
    "exact": "完全重复",
    "near": "近似重复",
    "swapped": "左右互换",
    "other duplicates": "其他重复",
    "dedupe": "去重",
    "cap": "超出上限",
    "tombstone": "应要求删除",
    "convert": "转换",
    "index": "评测集索引",
    "protect": "评测集汇总",
    "resolve": "裁决",
    "assemble": "成文",
    "pool": "文本池",
    "encode": "编码",
    "mine": "挖掘",
    "score": "打分",
    "model": "模型",
    "allowed": "允许",
    "unknown": "未知",
    "forbidden": "禁止",
    "query": "查询",
    "pair": "文本对",
    "positive": "正例",
    "passage": "段落",
    "negative": "负例",
    "query or pair": "查询或文本对",
    "shipped": "自带",
    "labelled": "人工标注",
    "mined": "挖掘",
    "all": "合计",
    "phone": "电话",
    "email": "邮箱",
    "id_card": "身份证",
    "bank_card": "银行卡",
    "records": "记录",
}


def meaning(reason: str) -> tuple[str, str]:
    """A reason or flag in words, English and Chinese; a flag may name a benchmark behind a colon.

    >>> meaning("corpus_overlap:T2Retrieval")[0]
    'holds a passage that a benchmark searches through'
    """
    return REASONS.get(reason.partition(":")[0], ("", ""))
