"""What a translation must share with its original, and how Chinese is set.

Spaces and punctuation are AutoCorrect's rules (a maintained linter for mixed Chinese and Latin text), with two of this
course on top: full-width punctuation and parentheses beside Chinese, and spaces around code and formulas.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import autocorrect_py

from alstm_helpers.translation import fields

Term = Mapping[str, object]
CJK = "\u4e00-\u9fff"
FENCE = re.compile(r"^([ ]*)(```+)[^\n]*\n.*?^\1\2[ ]*$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
MATH = re.compile(r"\$\$.+?\$\$|(?<![\\$\w])\$(?=\S)[^$\n]+?(?<=\S)\$(?![\w$])", re.DOTALL)
COMMENT = re.compile(r"(?:^|(?<=\s))# (.*)$", re.MULTILINE)
LINE = re.compile(r"^(.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(\s*(<[^>]*>|[^)\s]*)|\b(https?://[^\s)>`\"]+)|\b(?:src|href)=\"([^\"]*)\"")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)*(?:e[+-]?\d+)?")
# Options, files, and keys or functions of code: what a user types, in strings, which do not set it apart as code.
NAME = re.compile(
    r"(?<![\w-])--?[a-zA-Z][\w-]*|[\w/-]+\.(?:csv|html|jsonl?|list|mp4|onnx|pkl|py|yaml)\b|\w+_\w+|[A-Z]+\.[a-z]\w*"
)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
ROW = re.compile(r"^\s*\|", re.MULTILINE)
# Punctuation of half width beside Chinese, and spaces that are missing beside code and formulas (both stand as ￼).
HALF_WIDTH = re.compile(rf"[{CJK}”’」）￼][ ]?[,;!?](?=\s|[{CJK}￼]|$)|[{CJK}]\s?[,:;!?(]|[,;!?]\s?[{CJK}]|\)[{CJK}]")
# In a string of code, calls and tuples are not set apart as code: an opening parenthesis after a space is theirs.
HALF_WIDTH_STRING = re.compile(HALF_WIDTH.pattern.replace(r"\s?[,:;!?(]", r"(?:\s?[,:;!?]|\()"))
NO_SPACE = re.compile(rf"[{CJK}]￼|￼[{CJK}]")
SPACE = re.compile(r"[，。；：！？、（）“”][ ](?![|*])|(?<![|*>\-:.\d\n])[ ][，。；：！？、（）](?!\w*[)])")


def faults(original: str, translation: str, terms: Sequence[Term] = (), *, prose: bool) -> Iterator[str]:
    """Give what is wrong with a translation.

    Args:
        original: in English.
        translation: in Chinese; equal to the original if there is nothing to translate.
        terms: of the glossary: ``en``, ``zh``, and ``also`` with further Chinese words for it.
        prose: whether this is Markdown; otherwise a string of code, whose replacement fields must be the same.
    """
    if not translation:
        yield "not translated"
        return
    if translation == original:
        if prose and re.search("[a-z]{3,} [a-z]{2,} [a-z]{2,}", _plain(original)):
            yield "still in English"
        return
    for what, find in (PROSE if prose else STRING).items():
        before, after = Counter(find(original)), Counter(find(translation))
        if before != after:
            yield f"{what} differ: {sorted((before - after).elements())} became {sorted((after - before).elements())}"
    yield from style(translation, prose=prose)
    yield from wrong_terms(original, translation, terms)
    if prose:
        yield from style("\n".join(words for _, words in _blocks(translation)), prose=False)
    else:  # it may say more, such as 1/1000 for "1000 times too small"
        if lost := Counter(_named(original)) - Counter(_named(translation)):
            yield f"numbers or names are lost: {sorted(lost.elements())}"


def _fields(text: str) -> list[str]:
    try:
        return [text[start:stop] for start, stop in fields(text)]
    except ValueError:
        return []


def _named(text: str) -> list[str]:
    """Return the numbers, options, files, and names of code in a string, outside its replacement fields."""
    try:
        for start, stop in sorted(fields(text), reverse=True):
            text = f"{text[:start]} {text[stop:]}"
    except ValueError:
        return []
    return _numbers_in(text) + NAME.findall(text)


def _ellipses(text: str) -> list[str]:
    """Return the ellipses: in the message of a typical wrong answer each stands for any text."""
    return re.findall("…+", text.replace("……", "…"))


def _ends(text: str) -> list[str]:
    return [f"{len(text) - len(text.lstrip(chr(10)))} before", f"{len(text) - len(text.rstrip(chr(10)))} after"]


def _plain(text: str, gap: str = " ") -> str:
    """Return text without code, formulas, and targets of links."""
    text = MATH.sub(gap, CODE.sub(gap, FENCE.sub("", text)))
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"\]\((<[^>]*>|[^)]*)\)|<[^>\n]+>|https?://\S+|!?\[|\]", "", text)


def _spans(text: str) -> list[str]:
    return [" ".join(match[0].split()) for match in CODE.finditer(FENCE.sub("", text))]


def _formulas(text: str) -> list[str]:
    return [" ".join(match[0].split()) for match in MATH.finditer(CODE.sub("", FENCE.sub("", text)))]


def _numbers(text: str) -> list[str]:
    return _numbers_in(_plain(text))


def _numbers_in(plain: str) -> list[str]:
    return [number.replace(",", "").rstrip(".") for number in NUMBER.findall(plain)]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Give each block of code, and what is translated of it: its comments; of a block of ``text`` its lines."""
    for match in FENCE.finditer(text):
        opening, _, body = match[0].partition("\n")
        words = LINE if opening.endswith("text") else COMMENT
        yield f"{opening}\n{words.sub(_only_numbers, body)}", "\n".join(words.findall(body))


def _only_numbers(words: re.Match[str]) -> str:
    return str(sorted(_numbers_in(words[1])))


PROSE = {
    "blocks of code": lambda text: [code for code, _ in _blocks(text)],
    "code spans": _spans,
    "formulas": _formulas,
    "links": lambda text: [next(filter(None, link), "") for link in LINK.findall(FENCE.sub("", text))],
    "numbers": _numbers,
    "headings": lambda text: HEADING.findall(FENCE.sub("", text)),
    "rows of tables": lambda text: ROW.findall(FENCE.sub("", text)),
    "HTML tags": lambda text: re.findall(r"</?[a-z]+", CODE.sub("", FENCE.sub("", text))),
}

STRING = {"replacement fields": _fields, "line breaks at the ends": _ends, "ellipses": _ellipses}


def style(text: str, *, prose: bool) -> Iterator[str]:
    """Give where Chinese text is not set as it should be."""
    plain = _plain(text, "￼")
    for line in plain.split("\n"):
        if not re.search(f"[{CJK}]", line):
            continue
        half_width = HALF_WIDTH
        if not prose:  # errors join what is wrong and what to do, in every language
            half_width, line = HALF_WIDTH_STRING, re.sub("[;:] ", " ", line)
        for rule, what in ((half_width, "half-width punctuation"), (NO_SPACE, "no space"), (SPACE, "a space too many")):
            if found := rule.search(line):
                around = line[max(0, found.start() - 8) : found.end() + 8]
                yield f"{what} in {around.replace('￼', '`…`')!r}"
        better = autocorrect_py.format_for(line, "txt")
        if _closed(better) != _closed(line):
            pairs = enumerate(zip(line, better, strict=False))
            place = max(0, next((i for i, (a, b) in pairs if a != b), len(line)) - 8)
            yield f"spacing or punctuation: {line[place : place + 16]!r}, better {better[place : place + 16]!r}"


def _closed(line: str) -> str:
    """Return a line without spaces beside what stands for code."""
    return re.sub(" ?￼ ?", "￼", line)


def wrong_terms(original: str, translation: str, terms: Sequence[Term]) -> Iterator[str]:
    """Give the glossary's terms that an original has and its translation has not."""
    english, chinese = _plain(original), _plain(translation).lower()
    for term in terms:
        name = str(term["en"])
        case = 0 if sum(map(str.isupper, name)) > 1 else re.IGNORECASE
        if not re.search(rf"(?<![\w-]){re.escape(name)}s?(?![\w-])", english, case):
            continue
        also = term.get("also", [])
        words = [str(term["zh"]), name.lower(), *(also if isinstance(also, list) else [])]
        if not any(word.lower() in chinese for word in words):
            yield f"the term {name!r} is {' or '.join(words)}"
