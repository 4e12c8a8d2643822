"""Find the video that is meant by what labels call it: a name, perhaps after folders, perhaps of another machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.video_files import absolute, composed, id_of

_Parts = tuple[str, ...]


class _Claim(NamedTuple):
    """A label that may mean a video; how many of its folders, from the last one on, are those of the video."""

    label: str
    video: str
    folders: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing in the label speaks against the video."""
        return self.folders == len(_folders(self.label))


def videos_meant(labelled: Iterable[str], by_id: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Return the ids of the videos that labels mean, as far as they are among the videos, and notes.

    Of several videos of the same name the one is meant whose folders have the longest end in common with those of the
    label. A name without suffix means the video of that name. A file that is not there was perhaps converted since: it
    is the video of the same stem, if no other label means that.

    Args:
        labelled: names of files, after folders or not.
        by_id: the videos.

    Raises:
        AlstmError: several videos fit a label, or labels that contradict each other fit a video.
    """
    labels, claims = set(labelled), _Claims(by_id)
    by_name = _grouped({video: _key(path.name) for video, path in by_id.items()})
    found = claims.settled({label: by_name.get(_key(label), []) for label in labels})
    taken = {claim.video for claim in found.values()}
    stems = {video: id_of(path) for video, path in by_id.items() if video not in taken}
    by_stem = _grouped(stems)
    rest = {label: by_stem.get(_name(label)) or by_stem.get(_key(label)[0], []) for label in labels - found.keys()}
    others = claims.settled(rest, alone=True)
    converted = [claim for label, claim in others.items() if _name(label) != stems[claim.video]]
    found |= others
    kinds = {
        "labelled, but not among the videos": labels - found.keys(),
        "labelled by another suffix, taken as the same video": claims.said(converted),
        "labelled in another folder, taken as the same video": claims.said(
            [claim for claim in found.values() if not claim.is_whole]
        ),
        "not labelled, left out": by_id.keys() - {claim.video for claim in found.values()},
    }
    notes = [f"{kind}: {len(such)}, such as {min(such)}" for kind, such in kinds.items() if such]
    return {label: claim.video for label, claim in found.items()}, notes


class _Claims:
    """Settles which of the videos that a label may mean it means.

    Args:
        by_id: the videos.
    """

    def __init__(self, by_id: Mapping[str, Path]) -> None:
        self._by_id = by_id
        self._folders = {video: _folders_of(path) for video, path in by_id.items()}
        self._here = {folders[-1] for ways in self._folders.values() for folders in ways if folders}

    def settled(self, may_mean: Mapping[str, list[str]], *, alone: bool = False) -> dict[str, _Claim]:
        """Return what each label means; with ``alone``, only where no other label means the same.

        Raises:
            AlstmError: see :func:`videos_meant`.
        """
        rivals: dict[str, list[_Claim]] = defaultdict(list)
        for label in sorted(may_mean):
            if best := self._best(label, may_mean[label]):
                rivals[best.video].append(best)
        if alone:
            return {claims[0].label: claims[0] for claims in rivals.values() if len(claims) == 1}
        return {claim.label: claim for claims in rivals.values() for claim in self._accepted(claims)}

    def _best(self, label: str, videos: Iterable[str]) -> _Claim | None:
        """Return the claim on the video that fits best, if any does."""
        folders = _folders(label)
        claims = [_Claim(label, video, _common(folders, self._folders[video])) for video in videos]
        if folders and folders[-1] in self._here:  # a folder that is here means itself
            claims = [claim for claim in claims if claim.folders]
        most = max((claim.folders for claim in claims), default=0)
        best = [claim for claim in claims if claim.folders == most]
        if len(best) > 1:
            first, second = (self._by_id[claim.video] for claim in best[:2])
            remedy = "write a folder before it that only one of them lies in, and import the labels again"
            raise AlstmError(f"label of {label}", f"it fits {first} and {second}", remedy)
        return best[0] if best else None

    def _accepted(self, claims: list[_Claim]) -> list[_Claim]:
        """Return those of the claims on a video that nothing speaks against, or no more than against any other."""
        most = max(claim.folders for claim in claims)
        doubtful = [claim.label for claim in claims if claim.folders == most and not claim.is_whole]
        if len(doubtful) > 1:
            problem = f"labels of {doubtful[0]} and {doubtful[1]} both fit it"
            remedy = "write its own folder in one of them, and import the labels again"
            raise AlstmError(self._by_id[claims[0].video], problem, remedy)
        return [claim for claim in claims if claim.is_whole or claim.folders == most]

    def said(self, claims: Iterable[_Claim]) -> list[str]:
        """Return what notes call claims."""
        return [f"{claim.label} for {claim.video}{self._by_id[claim.video].suffix}" for claim in claims]


def _grouped(keys: Mapping[str, object]) -> dict[object, list[str]]:
    """Return the videos by key."""
    groups: dict[object, list[str]] = defaultdict(list)
    for video, key in keys.items():
        groups[key].append(video)
    return groups


def _name(label: str) -> str:
    return composed(PurePosixPath(label).name)


def _key(name: str) -> tuple[str, str]:
    """Return what of a file name counts: the composed stem, and the suffix in lower case."""
    path = PurePosixPath(composed(name))
    return path.stem, path.suffix.lower()


def _folders(label: str) -> _Parts:
    return PurePosixPath(composed(label)).parts[:-1]


def _folders_of(video: Path) -> list[_Parts]:
    """Return the folders above a video, and those above the file that it is if it is a link."""
    ways = {absolute(video), video.resolve()}
    return [tuple(composed(part) for part in way.parts[1:-1]) for way in sorted(ways)]


def _common(folders: _Parts, ways: Iterable[_Parts]) -> int:
    """Return how many folders, from the last one on, are the same."""
    most = 0
    for way in ways:
        same = 0
        for one, other in zip(reversed(folders), reversed(way), strict=False):
            if one != other:
                break
            same += 1
        most = max(most, same)
    return most
