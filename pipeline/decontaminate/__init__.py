"""Decontaminate: which records hold benchmark text, by the part that text plays in its benchmark.

`index` turns a benchmark into match keys once; `protect` puts the indexes of all benchmarks of a build together, ready to
be searched; `decontaminate` compares a corpus with them.

- A record with a benchmark **query** on either side is marked to be removed (`benchmark_query`), also when text and
  text_pos together are that query (`benchmark_joined`, for clustering sets made of title + abstract) or when
  instruction data carries it in a prompt (`benchmark_inside`).
- A record whose two sides are the two texts of a benchmark **pair**, in either order and at any length, is marked as
  well (`benchmark_pair`): the sentences of a pair task, or a query with its judged positive.
- A **positive** or **passage** on its own only flags (`benchmark_positive:TASK`, `corpus_overlap:TASK`).

Two texts match when their match keys are equal or near: true Jaccard at `threshold` with the k of the shorter key, and
no difference in digits or negations, as in dedupe.
"""

from pipeline.decontaminate.protected import protect
from pipeline.decontaminate.stage import decontaminate
from pipeline.decontaminate.texts import index

__all__ = ["decontaminate", "index", "protect"]
