"""Who hangs together: components by union-find, in which a root is never greater than its members."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.compiled import inlined, kernel


@inlined
def _found(root, x):  # type: ignore[no-untyped-def]
    while root[x] != x:
        root[x] = root[root[x]]
        x = np.int64(root[x])
    return x


@inlined
def _join(root, x, y):  # type: ignore[no-untyped-def]
    x, y = _found(root, x), _found(root, y)
    if x < y:
        root[y] = x
    else:
        root[x] = y


@kernel
def unite(root, a, b):  # type: ignore[no-untyped-def]
    """Joins the components of every a[i] and b[i]; following `root` leads to the smallest number of a component."""
    for i in range(a.shape[0]):
        _join(root, np.int64(a[i]), np.int64(b[i]))


@kernel
def unite_buckets(root, members, ends):  # type: ignore[no-untyped-def]
    """Joins whoever shares a bucket; bucket i of `members` ends at `ends[i]`."""
    start = 0
    for end in ends:
        for i in range(start + 1, end):
            _join(root, np.int64(members[i - 1]), np.int64(members[i]))
        start = end


@kernel
def apart(root, a, b):  # type: ignore[no-untyped-def]
    """Which a[i] and b[i] are not of one component."""
    out = np.empty(a.shape[0], np.bool_)
    for i in range(a.shape[0]):
        out[i] = _found(root, np.int64(a[i])) != _found(root, np.int64(b[i]))
    return out


@kernel
def flatten(root):  # type: ignore[no-untyped-def]
    """Makes each entry of `root` the smallest number of its component; one pass will do, as roots come first."""
    for i in range(root.shape[0]):
        root[i] = root[root[i]]
