"""Byte scanners compiled by numba: where lines, records and the elements of a JSON array begin and end.

They look at one byte at a time, which is safe in UTF-8: no byte of a longer character equals an ASCII one.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from pipeline.layouts.rows import Bools, Int64s

Bytes = npt.NDArray[np.uint8]

_TAB, _LF, _CR, _BLANK, _QUOTE, _COMMA, _COLON, _BACKSLASH = 9, 10, 13, 32, 34, 44, 58, 92
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = 91, 93, 123, 125
#: Stands for a raw line break inside a JSON string: forbidden there too, so that the element stays refused.
_CONTROL = 1

# Slots of the scanner's state, which lives from chunk to chunk.
PHASE, DEPTH, IN_STRING, ESCAPED, FILLED, ELEMENTS, KEY, MATCH, STATE = 0, 1, 2, 3, 4, 5, 6, 7, 8
# Phases: seeking the outermost bracket, keys of the outer object, the colon and the list of the wanted key,
# inside the list, after the end.
SEEK, KEYS, WANT_COLON, WANT_LIST, LIST, DONE = 0, 1, 2, 3, 4, 5
# Faults.
FINE, NOT_OPENED, NOT_A_LIST, EMPTY_ELEMENT, WRONG_CLOSE, AFTER_END, TWICE = 0, 1, 2, 3, 4, 5, 6


@numba.njit(nogil=True, cache=True)
def line_bounds(data: Bytes, starts: Int64s, ends: Int64s) -> int:
    """Bounds of the lines that hold more than blanks, line ends (LF, CR LF) left out; returns how many."""
    count = 0
    start = 0
    filled = False
    for here in range(len(data) + 1):
        if here == len(data) or data[here] == _LF:
            if filled:
                starts[count] = start
                ends[count] = here - 1 if data[here - 1] == _CR else here
                count += 1
            start = here + 1
            filled = False
        elif data[here] != _BLANK and data[here] != _TAB and data[here] != _CR:
            filled = True
    return count


@numba.njit(nogil=True, cache=True)
def single_objects(data: Bytes, starts: Int64s, ends: Int64s) -> bool:
    """Is every line one bracketed thing from its first `{` to its last byte but blanks?

    Says nothing of what is inside. Guards the block parser, which reads several values of one line as several rows.
    """
    for line in range(len(starts)):
        depth = 0
        closed = False
        in_string = False
        escaped = False
        for here in range(starts[line], ends[line]):
            byte = data[here]
            if in_string:
                if escaped:
                    escaped = False
                elif byte == _BACKSLASH:
                    escaped = True
                elif byte == _QUOTE:
                    in_string = False
            elif byte in (_BLANK, _TAB, _CR):
                continue
            elif closed or (depth == 0 and byte != _OPEN_OBJECT):
                return False
            elif byte == _QUOTE:
                in_string = True
            elif byte in (_OPEN_OBJECT, _OPEN_LIST):
                depth += 1
            elif byte in (_CLOSE_OBJECT, _CLOSE_LIST):
                depth -= 1
                closed = depth == 0
        if not closed:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def array_to_lines(data: Bytes, state: Int64s, key: Bytes) -> int:
    """Turn the elements of a JSON array into lines, in place; everything around the array into blanks.

    `key` is empty for a file that is an array, else the top-level key that holds it. Returns a fault or FINE.
    """
    for here in range(len(data)):
        byte = data[here]
        phase = state[PHASE]
        if state[IN_STRING] == 1:
            if phase != LIST:
                data[here] = _BLANK
            elif byte in (_LF, _CR):
                data[here] = _CONTROL
            if state[ESCAPED] == 1:
                state[ESCAPED] = 0
            elif byte == _BACKSLASH:
                state[ESCAPED] = 1
            elif byte == _QUOTE:
                state[IN_STRING] = 0
                if phase == KEYS and state[KEY] == 1 and state[MATCH] == len(key):
                    if state[ELEMENTS] >= 0:
                        return TWICE
                    state[PHASE] = WANT_COLON
                state[KEY] = 0
                continue
            if state[KEY] == 1:
                at = state[MATCH]
                state[MATCH] = at + 1 if 0 <= at < len(key) and key[at] == byte else -1
            continue
        if byte in (_LF, _CR, _BLANK, _TAB):
            data[here] = _BLANK
            continue
        if phase == LIST:
            if state[DEPTH] == 0 and (byte in (_COMMA, _CLOSE_LIST)):
                if state[FILLED] == 0 and (byte == _COMMA or state[ELEMENTS] > 0):
                    return EMPTY_ELEMENT
                state[ELEMENTS] += state[FILLED]
                state[FILLED] = 0
                data[here] = _LF
                if byte == _CLOSE_LIST:
                    state[PHASE] = KEYS if len(key) > 0 else DONE
                    state[DEPTH] = 1
                continue
            state[FILLED] = 1
            if byte == _QUOTE:
                state[IN_STRING] = 1
            elif byte in (_OPEN_LIST, _OPEN_OBJECT):
                state[DEPTH] += 1
            elif byte in (_CLOSE_LIST, _CLOSE_OBJECT):
                if state[DEPTH] == 0:
                    return WRONG_CLOSE
                state[DEPTH] -= 1
            continue
        data[here] = _BLANK
        if phase == DONE:
            return AFTER_END
        if phase == SEEK and len(key) > 0:
            if byte != _OPEN_OBJECT:
                return NOT_OPENED
            state[PHASE] = KEYS
            state[DEPTH] = 1
            state[KEY] = 2
        elif phase in (SEEK, WANT_LIST):
            if byte != _OPEN_LIST:
                return NOT_OPENED if phase == SEEK else NOT_A_LIST
            state[PHASE] = LIST
            state[DEPTH] = 0
            state[ELEMENTS] = 0
        elif phase == WANT_COLON:
            if byte != _COLON:
                return NOT_A_LIST
            state[PHASE] = WANT_LIST
        elif byte == _QUOTE:
            state[IN_STRING] = 1
            if state[KEY] == 2 and state[DEPTH] == 1:
                state[KEY] = 1
                state[MATCH] = 0
        elif byte == _COMMA and state[DEPTH] == 1:
            state[KEY] = 2
        elif byte in (_OPEN_LIST, _OPEN_OBJECT):
            state[DEPTH] += 1
        elif byte in (_CLOSE_LIST, _CLOSE_OBJECT):
            state[DEPTH] -= 1
            if state[DEPTH] == 0:
                state[PHASE] = DONE
    return FINE


@numba.njit(nogil=True, cache=True)
def record_bounds(
    data: Bytes, delimiter: int, quote: int, final: bool, starts: Int64s, ends: Int64s, fields: Int64s
) -> tuple[int, int, bool]:
    """Bounds and field counts of delimited records; empty lines are none. `quote` is 0 where nothing quotes.

    A quote opens a field only as its first byte, as in RFC 4180 and its readers; LF, CR LF and CR end a record.
    Returns (records, bytes they and their line ends take, does the rest stand inside a quote).
    """
    count = 0
    start = 0
    used = 0
    width = 1
    fresh = True  # at the first byte of a field
    quoted = False
    here = 0
    while here < len(data):
        byte = data[here]
        if quoted:
            if byte == quote:
                if here + 1 == len(data) and not final:
                    break
                if here + 1 < len(data) and data[here + 1] == quote:
                    here += 1
                else:
                    quoted = False
        elif byte == quote and fresh and quote != 0:
            quoted = True
            fresh = False
        elif byte == delimiter:
            width += 1
            fresh = True
        elif byte in (_LF, _CR):
            if byte == _CR and here + 1 == len(data) and not final:
                break  # the other half of a CR LF may follow
            if here > start:
                starts[count], ends[count], fields[count] = start, here, width
                count += 1
            if byte == _CR and here + 1 < len(data) and data[here + 1] == _LF:
                here += 1
            start = used = here + 1
            width = 1
            fresh = True
        else:
            fresh = False
        here += 1
    if final and start < len(data) and not quoted:
        starts[count], ends[count], fields[count] = start, len(data), width
        count += 1
        used = len(data)
    return count, used, quoted


@numba.njit(nogil=True, cache=True)
def gather(data: Bytes, starts: Int64s, ends: Int64s, offsets: npt.NDArray[np.int32], packed: Bytes) -> None:
    """Copy the spans side by side, and where each begins."""
    at = 0
    for span in range(len(starts)):
        offsets[span] = at
        for here in range(starts[span], ends[span]):
            packed[at] = data[here]
            at += 1
    offsets[len(starts)] = at


def lines_of(data: bytes) -> tuple[Int64s, Int64s]:
    """Starts and ends of the lines of a block that hold more than blanks.

    >>> [bounds.tolist() for bounds in lines_of(b"a\\r\\n \\nbc")]
    [[0, 5], [1, 7]]
    """
    array = np.frombuffer(data, dtype=np.uint8)
    room = data.count(b"\n") + 1
    starts, ends = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    count = line_bounds(array, starts, ends)
    return starts[:count], ends[:count]


def are_objects(data: bytes, starts: Int64s, ends: Int64s) -> bool:
    """`single_objects` over bytes."""
    return bool(single_objects(np.frombuffer(data, dtype=np.uint8), starts, ends))


__all__ = ["Bools", "Bytes", "are_objects", "array_to_lines", "gather", "lines_of", "record_bounds"]
