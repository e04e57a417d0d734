"""The two strings of every text: the stored one, which people and models read, and the match key, which only compares.

    clean      stored text: NFC, no invisible characters, no markup, single blanks; full-width punctuation stays as it is
    match_key  what two spellings of one sentence share: NFKC, lower case, simplified, no punctuation except between digits
    key_hash   a key as 64 bits

All three take and give a whole `pl.Series`; Python code touches only the few rows that hold markup.
"""

from __future__ import annotations

from pipeline.normalize.cleaners import CLEANERS
from pipeline.normalize.key import Folder, Laid, key_hash, match_key, picked
from pipeline.normalize.text import clean

__all__ = ["CLEANERS", "Folder", "Laid", "clean", "key_hash", "match_key", "picked"]
