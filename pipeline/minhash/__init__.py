"""Match keys as sets of character shingles: their true Jaccard, their MinHash signatures and their band keys.

Shared by `dedupe` and `decontaminate`. `Keys` holds the match keys of many texts in one buffer; everything else takes
positions in it, works in compiled kernels that release the GIL, and gives the same numbers on any number of threads.

>>> import numpy as np, polars as pl
>>> texts = pl.Series(["如何更换花呗绑定银行卡", "如何更换花呗绑定的银行卡"])
>>> keys = Keys.of(texts, np.array([1, 2], np.uint64))
>>> jaccard(keys, [0], keys, [1]).round(3).tolist()
[0.75]
"""

from pipeline.minhash.bitmaps import Bitmaps
from pipeline.minhash.keys import Keys, jaccard
from pipeline.minhash.leaders import LOOKS, WORK, WORK_EACH, Compare, agreeing, lead, leaders, least_agreeing
from pipeline.minhash.pairs import Pairs
from pipeline.minhash.shingles import LONG, SHORT
from pipeline.minhash.signatures import Bands, Slots, band_parts, permutations, rows_per_band, signatures, slots
from pipeline.minhash.signing import SKETCH, Plan, Signed, Signer

__all__ = [
    "LONG",
    "LOOKS",
    "SHORT",
    "SKETCH",
    "WORK",
    "WORK_EACH",
    "Bands",
    "Bitmaps",
    "Compare",
    "Keys",
    "Pairs",
    "Plan",
    "Signed",
    "Signer",
    "Slots",
    "agreeing",
    "band_parts",
    "jaccard",
    "lead",
    "leaders",
    "least_agreeing",
    "permutations",
    "rows_per_band",
    "signatures",
    "slots",
]
