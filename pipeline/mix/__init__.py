"""Mix: batches for training out of a build of any size, with bounded memory and a position that can be taken up again.

Every batch is of one corpus and one length bucket, and holds no two records of one text_group, pos_group or doc_group:
in-batch negatives are then never known positives. See `pipeline.mix.mixer.Mixer`.
"""

from pipeline.mix.mixer import Batch, Mixer
from pipeline.mix.pack import pack

__all__ = ["Batch", "Mixer", "pack"]
