"""Leave out the packets that no wanted picture needs: of a group of pictures, those after the last wanted one.

A group begins with a key frame, on which all its pictures rest, and none of an earlier group. So what comes in it after
the last picture that is wanted need not be decoded, and a group without one not at all: in phones' videos, with a key
frame a second, about half; in those where each picture is a key frame, nearly all.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av import Packet, VideoStream

_MOST_BYTES = 1 << 25  # of a group that is held; a larger one is decoded as it is
_ROUNDING = 1e-6  # seconds
_START = b"\0\0\1"  # before each NAL unit of a stream


class _Refresh(NamedTuple):
    """Types of NAL units that refresh the decoder, where the type is in a unit's first byte, and where the extradata
    say how long the lengths before the units are."""

    kinds: range
    shift: int
    mask: int
    lengths: int


_REFRESH = {"h264": _Refresh(range(5, 6), 0, 31, 4), "hevc": _Refresh(range(16, 22), 1, 63, 21)}
_SELF_CONTAINED = {"mpeg4", "mpeg2video", "mpeg1video", "vp8", "vp9"}  # nothing reaches back over their key frames


def needed(packets: Iterator[Packet], stream: VideoStream, start: float, stop: float) -> Iterator[Packet]:
    """Yield the packets that the pictures shown in the middles of seconds need, in their order.

    Args:
        packets: of the stream, beginning with those of the first group, their times by a player's clock.
        stream: its codec says whether a key frame can be trusted; if not, all packets are yielded.
        start: where second 0 begins, in seconds.
        stop: where the last one ends, after which nothing is held back, so that no more is read than without this.
    """
    if not _is_known(stream):
        yield from packets
        return
    held: list[Packet] = []
    group: list[Packet] = []
    size, is_first, is_whole = 0, True, False
    for packet in packets:
        if packet.is_keyframe and group and _starts_anew(packet, stream):
            if held:
                chosen = held if is_whole else _cut(held, group, start)
                yield from chosen or held[: int(is_first)]  # when a file's first picture comes is noted
                is_first = is_whole = False
            held, group, size = group, [], 0
        group.append(packet)
        size += packet.size
        if size > _MOST_BYTES or _time(packet) > stop:
            yield from held
            yield from group
            held, group, size, is_whole = [], [], 0, True
    yield from held if is_whole else _cut(held, group, start) or held[: int(is_first)]
    yield from group  # whole, as the end of the file is to be seen


def _cut(group: list[Packet], following: list[Packet], start: float) -> list[Packet]:
    """Return a group without what comes after its last wanted picture, if the group after it stands alone."""
    times, after = ([_time(packet) for packet in packets if packet.size] for packets in (group, following))
    if not times or not after or len(times) != len(group) or any(map(math.isnan, (*times, *after))):
        return group
    if min(after) < after[0] or max(times) >= after[0]:  # pictures before the key frame rest on this group
        return group
    shown = sorted(times)
    first, stop = (max(0, math.floor(time - start - 0.5)) for time in (shown[0], after[0]))
    middles = [start + second + 0.5 + margin for second in range(first, stop + 1) for margin in (-_ROUNDING, _ROUNDING)]
    wanted = {shown[bisect_right(shown, middle) - 1] for middle in middles if shown[0] <= middle < after[0] + _ROUNDING}
    last = max((place for place, time in enumerate(times) if time in wanted), default=-1)
    return group[: last + 1]


def _time(packet: Packet) -> float:
    """Return the second at which a packet's picture is shown; NaN if it does not say."""
    return math.nan if packet.pts is None else packet.pts * float(packet.time_base or 0)


def _is_known(stream: VideoStream) -> bool:
    codec = stream.codec_context.codec
    return codec.intra_only or codec.name in _REFRESH or codec.name in _SELF_CONTAINED


def _starts_anew(packet: Packet, stream: VideoStream) -> bool:
    """Tell whether a key frame is one on which pictures before it have no bearing; some files call others so, too."""
    context = stream.codec_context
    if context.codec.name not in _REFRESH:
        return True
    marks = _REFRESH[context.codec.name]
    firsts = _first_bytes(bytes(packet), context.extradata, marks.lengths)
    return any(first >> marks.shift & marks.mask in marks.kinds for first in firsts)


def _first_bytes(content: bytes, extradata: bytes | None, lengths: int) -> Iterator[int]:
    """Yield the first byte of each NAL unit of a packet: as mp4 has them (ISO/IEC 14496-15), or a stream (annex B)."""
    if extradata and extradata[0] == 1 and len(extradata) > lengths:
        size, place = (extradata[lengths] & 3) + 1, 0
        while place + size < len(content):
            yield content[place + size]
            place += size + int.from_bytes(content[place : place + size])
    else:
        place = content.find(_START)
        while 0 <= place < len(content) - len(_START):
            yield content[place + len(_START)]
            place = content.find(_START, place + len(_START))
