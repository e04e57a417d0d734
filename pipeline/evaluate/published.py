"""The scores that the seed published, to stand beside ours: its MTEB-zh table.

Source: the model card of moka-ai/m3e-base, section "MTEB-zh 评测", as of 2023-06; measured by its authors with mteb 1.
The numbers are theirs, to the digits they gave; none was measured here.
"""

from __future__ import annotations

SOURCE = "model card of moka-ai/m3e-base, MTEB-zh, 2023-06"
#: In the order of the card.
MODELS = ("text2vec", "m3e-small", "m3e-base", "openai-ada-002", "DMetaSoul", "uer", "erlangshen")

#: Accuracy.
CLASSIFICATION = {
    "TNews": (0.43, 0.4443, 0.4827, 0.4594, 0.3084, 0.3539, 0.4361),
    "JDIphone": (0.8214, 0.8293, 0.8533, 0.746, 0.7972, 0.8283, 0.8356),
    "GubaEastmony": (0.7472, 0.712, 0.7621, 0.7574, 0.735, 0.7534, 0.7787),
    "TYQSentiment": (0.6099, 0.6596, 0.7188, 0.68, 0.6437, 0.6662, 0.6444),
    "StockComSentiment": (0.4307, 0.4291, 0.4363, 0.4819, 0.4309, 0.4555, 0.4482),
    "IFlyTek": (0.414, 0.4263, 0.4409, 0.4486, 0.3969, 0.3762, 0.4241),
}
#: All that the card tells of T2Ranking 1W.
T2RANKING_1W = {
    "map_at_1": (0.4684, 0.5574, 0.626, 0.6133, 0.25203, 0.08647, 0.25394),
    "map_at_10": (0.5877, 0.6878, 0.7656, 0.7423, 0.33312, 0.13008, 0.34714),
    "mrr_at_1": (0.5345, 0.6324, 0.7047, 0.6931, 0.29258, 0.10067, 0.29447),
    "mrr_at_10": (0.6217, 0.712, 0.7841, 0.7668, 0.36287, 0.14516, 0.3751),
    "ndcg_at_1": (0.5207, 0.6159, 0.6881, 0.6764, 0.28358, 0.09748, 0.28578),
    "ndcg_at_10": (0.6346, 0.7262, 0.8004, 0.7786, 0.37468, 0.15783, 0.39329),
}
#: nDCG@10; only three models were measured.
T2RANKING = {
    "T2Ranking-10W": (0.44644, 0.5251, 0.6263),
    "T2Ranking-50W": (0.33482, 0.38626, 0.47364),
}


def published(suite: str) -> dict[str, dict[str, dict[str, float]]]:
    """task -> metric -> model -> score; empty for suites that the seed did not measure.

    >>> published("mteb-zh")["T2Ranking-50W"]
    {'ndcg_at_10': {'text2vec': 0.33482, 'm3e-small': 0.38626, 'm3e-base': 0.47364}}
    """
    if suite != "mteb-zh":
        return {}
    told = {task: {"accuracy": _named(scores)} for task, scores in CLASSIFICATION.items()}
    told["T2Ranking-1W"] = {metric: _named(scores) for metric, scores in T2RANKING_1W.items()}
    return told | {task: {"ndcg_at_10": _named(scores)} for task, scores in T2RANKING.items()}


def _named(scores: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(MODELS, scores, strict=False))
