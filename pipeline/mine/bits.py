"""Bits of 64-bit words, for compiled loops: single machine instructions that numba does not name."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


@intrinsic
def ones(typing, word):  # type: ignore[no-untyped-def]
    """How many bits are set."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


@intrinsic
def lowest(typing, word):  # type: ignore[no-untyped-def]
    """The place of the lowest bit that is set; 64 where none is."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), emit
