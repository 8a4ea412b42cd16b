"""What the words of a prompt say about its order: pointers, cues, openings, labels.

Knows English prompt writing. Knows nothing of source code, of tiers or of blocks: every function
takes text in which each hole is one `HOLE` character.

Source: the classes of words are rules 1 to 4 of our notes on safe rewriting, read from public
prompts; where a phrase is doubtful it counts as a pointer, because a wrong move costs more than
a missed one.
"""

from __future__ import annotations

import re

HOLE = "\ufffc"
"""Stands for one hole in flat text. Text that holds this character itself is never planned."""

OPEN, CLOSE, TURN, NOTE = "\ue000", "\ue001", "\ue002", "\ue004"
"""Stand for the tags of a template language: a condition or loop opens, closes, has another arm; a
comment. What is open may not be cut."""

_NOUN = r"(?:[a-z][\w-]*)"
_QUANTITY = (
    rf"\s+(?:[\d{HOLE}$€£~<]|(?:an?|the|all|any|each|every|your|our|its|average|zero|one|two|three|"
    r"four|five|six|seven|eight|nine|ten|twelve|twenty|fifty|hundred)\b)"
)
"""What stands behind "above" and "below" where they compare: "tents above six kilograms"."""
_BACKWARD = re.compile(
    rf"""
    \b(?:the\s+)?(?P<above>above(?!{_QUANTITY})|aforementioned|foregoing|preceding)\b
        (?:[- ]mentioned)?
        (?:\s+(?P<above_noun>{_NOUN}))?
    | \b(?:the\s+)?previous(?:ly)?(?:\s+(?P<previous_noun>{_NOUN}))?
    | \bearlier\b | \bso\s+far\b | \bas\s+(?:shown|given|seen|described|mentioned|noted|stated)\b
    | \b(?:these|those|this)\s+(?P<this_noun>{_NOUN})
    | \bthe\s+(?:former|latter)\b
    | \bhere\s+(?:is|are|was|were)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FORWARD = re.compile(
    rf"""
    \b(?:the\s+)?following\b(?:\s+(?P<following_noun>{_NOUN}))?
    | \b(?:(?P<below_noun>{_NOUN})\s+)?(?:(?:is|are|given|listed|shown|provided)\s+)?
        below\b(?!{_QUANTITY})
    | \bas\s+follows\b | \bhereafter\b | \bsubsequent\b
    | \bat\s+the\s+(?:end|bottom)\b
    | \bnext\s+(?:section|paragraph|block|line|message)s?\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OPENS_WITH_POINTER = re.compile(
    r"\W*(?:it|its|they|them|their|he|she|his|her|this|that|these|those|such|then|therefore|thus|"
    r"hence|so|also|finally|next|afterwards?|otherwise|however|but|and|or|if so|if not|"
    r"based on|given (?:this|that|these|those|it|the)|with (?:this|that|these|the above))\b",
    re.IGNORECASE,
)
_HARMLESS_THIS = frozenset(
    {
        "way", "case", "cases", "is", "are", "was", "means", "order", "prompt",
        "conversation", "chat", "session", "task", "point", "step", "time", "and", "or",
        "to", "in", "on", "as", "for", "who", "that", "of", "until", "before", "after",
        "only", "when", "if", "while", "because", "unless", "by", "with", "at", "from",
        "too", "also", "will", "can", "must", "should", "may", "has", "have", "does",
        "helps", "ensures", "allows", "lets", "makes",
    }
)  # fmt: skip
"""What stands behind "this" where it means the sentence before it, or the prompt itself."""
_ORDINAL = re.compile(rf"\b(?:first|second|third|last|final)\s+(?P<noun>{_NOUN})\b", re.IGNORECASE)
_OPENING = re.compile(
    r"\W*(?:you\s+are|you['’]re|you\s+(?:will\s+)?(?:act|play|serve)|act\s+as|"
    r"i\s+want\s+you\s+to|imagine|pretend|as\s+an?\s|your\s+(?:role|job)\s+is|assume\s+the\s+role)\b",
    re.IGNORECASE,
)
_CUE_LINE = re.compile(
    rf"""(?:
      [^\n{HOLE}]{{0,60}}[:=>→]["'`(\[{{]*          # "Answer:", "<answer>", 'JSON: "'
    | `{{3,}}[\w+-]*                                   # an open fence
    | [\[{{("'“]                                       # an opened bracket or quote
    | (?:now|begin|go|start|proceed|let['’]?s|let\s+us|ready)\b[^\n{HOLE}]{{0,120}}
    | (?:think|work|reason)\s[^\n{HOLE}]{{0,40}}step[\s-]by[\s-]step[.!]?
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_START_LINE = re.compile(r"\W*(?:begin|start|let['’]?s (?:begin|start))\W*", re.IGNORECASE)
_ROLE_MARKER = re.compile(
    r"<\|[\w ]+\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>"
    r"|^[ \t]*(?:#{1,4}[ \t]*)?(?:human|assistant|ai|bot)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_EXAMPLE = re.compile(
    r"(?:^|\n)\W*(?:(?:few[- ]shot|here\s+(?:is|are)|some|sample|for|the\s+following)\b"
    r"[^\n:]{0,30})?\bexamples?\b(?:[ \t]*#?\d+)?[^\n.]{0,30}[:\n]"
    r"|(?:^|\n)[ \t]*(?:q|input)[ \t]*:[^\n]*\n+[ \t]*(?:a|output)[ \t]*:",
    re.IGNORECASE,
)
_FORMAT_LINE = re.compile(
    r"^[ \t]*(question|thought|action|action input|observation|final answer|input|output|"
    rf"reasoning|answer|response|q|a|user|query|task)[ \t]*\d*[ \t]*:[^\n{HOLE}]*\w[^\n{HOLE}]*$",
    re.IGNORECASE | re.MULTILINE,
)
_PERCENT_FIELD = re.compile(r"%(?:\(\w+\)[-+#0]*\d*(?:\.\d+)?[sdrfi]|[sdr]\b)")
_LATER_FIELD = re.compile(r"\{\{?\s*[A-Za-z_][\w.]*\s*\}\}?|\$\{[A-Za-z_]\w*\}")
_QUESTION = re.compile(
    r"question|query|input|request|task|message|instruction|utterance|ask|problem|ticket|prompt",
    re.IGNORECASE,
)
_FROM_OUTSIDE = re.compile(
    r"context|doc|retriev|snippet|passage|chunk|search|result|memor|history|content|text|input|"
    r"question|query|message|page|article|body|email|transcript|data|notes?$|user_?name",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"""[ \t]*(?:[-*•]\s+)?[*_`"'\[(]{0,3}
    (?P<label>[A-Za-z][\w'’/&.,()-]*(?:[ \t]+[\w'’/&.,()-]+){0,6})
    [*_`"'\])]{0,3}[ \t]?[:=][*_]{0,2}(?P<rest>[^\n]*)""",
    re.VERBOSE,
)
_STATEMENT = re.compile(
    rf"""\W*(?:the|your|today|now|current|currently|it|user|customer|date|time|local)\b
    [^\n.!?{HOLE}]{{0,60}}?(?:\b(?:is|are|was)\b(?:\s+(?:now|named|called|currently))?|[:=])
    \s*["'`*(\[]*{HOLE}(?:[ ,/T:-]{{0,3}}{HOLE})?["'`*)\]]*
    (?:\s*(?:\([^()\n]{{0,30}}\)|UTC|GMT))?\s*[.!;]?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PRONOUN = re.compile(r"\b(?:it|its|itself|them|they|their)\b(?!\s+(?:is|was)\s+\w+\s+(?:to|that))")
_ANTECEDENT = re.compile(r"\b(?:the|your|our|each|every|any|if|when|whether)\b", re.IGNORECASE)
_PREMISE = re.compile(r"\W*(?:we|i|suppose|assume|let)\b", re.IGNORECASE)
_ALL = re.compile(r"\ball\s+(?:of\s+)?(?:the\s+)?$", re.IGNORECASE)
_COMMON = frozenset(
    {
        "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by",
        "can", "do", "does", "each", "for", "from", "has", "have", "if", "in", "into", "is", "it",
        "its", "must", "no", "not", "of", "on", "only", "or", "other", "should", "so", "such",
        "than", "that", "the", "their", "then", "there", "they", "this", "to", "use", "was", "what",
        "when", "where", "which", "who", "will", "with", "you", "your",
    }
)  # fmt: skip
_LEAST_WORDS = 25
_COMMON_SHARE = 0.1
"""English instructions have a share of 0.3, seldom less; German, Dutch or French ones below."""
_FOREIGN_SHARE = 0.2
_ENGLISH_SHARE = 0.15
_WORD = re.compile(r"[A-Za-z][A-Za-z]+")


def bare(text: str) -> str:
    """Return the text without what stands for tags."""
    if OPEN not in text and NOTE not in text and CLOSE not in text:
        return text
    return re.sub(f"[{OPEN}{CLOSE}{TURN}{NOTE}]", "", text).strip()


def _stem(word: str) -> str:
    word = word.lower()
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def nouns(text: str) -> frozenset[str]:
    """Return the words of `text` that a pointer could name, singular and in lower case."""
    return frozenset(_stem(word) for word in _WORD.findall(text))


def is_foreign(text: str) -> bool:
    """Return True if a text is surely not English: its pointers and cues would not be seen.

    Measured by the words that every English text is full of; short texts are taken for English.
    """
    letters = [char for char in text if char.isalpha()]
    if sum(not char.isascii() for char in letters) > _FOREIGN_SHARE * len(letters):
        return True
    found = [word.lower() for word in _WORD.findall(text)]
    is_long = len(found) >= _LEAST_WORDS
    return is_long and sum(word in _COMMON for word in found) < _COMMON_SHARE * len(found)


def is_english(text: str) -> bool:
    """Return True if a text surely is English, however short."""
    letters = [char for char in text if char.isalpha() and char != HOLE]
    if sum(not char.isascii() for char in letters) > _FOREIGN_SHARE / 4 * len(letters):
        return False
    found = [word.lower() for word in _WORD.findall(text)]
    return sum(word in _COMMON for word in found) >= _ENGLISH_SHARE * len(found)


def may_point_back(text: str) -> bool:
    """Return False if `pointer_back` and `opens_with_pointer` find nothing, whatever is around."""
    return any(p.search(text) for p in (_BACKWARD, _ORDINAL)) or bool(opens_with_pointer(text))


def may_point_ahead(text: str) -> bool:
    """Return False if `pointer_ahead` finds nothing, whatever is around."""
    return _FORWARD.search(text) is not None


def pointer_back(text: str, resolve: frozenset[str], forbidden: frozenset[str]) -> str | None:
    """Return the phrase of `text` that points at what stands before it, or None.

    Args:
        text: a block.
        resolve: nouns of the blocks that will still stand before it; a pointer with one of
            these nouns, or with a noun that the block itself introduced, is safe.
        forbidden: nouns of the block that would no longer stand before it; a pointer with one
            of these is never safe.
    """
    for match in _BACKWARD.finditer(text):
        phrase = match.group().strip()
        if phrase.lower().startswith("here "):
            if _is_bound_by_colon(text, match.end()):
                continue
            return phrase
        noun = next((value for value in match.groups()[1:] if value), None)
        if noun is None or _ALL.search(text[: match.start()]):
            return phrase  # "all the above information" means what moves, too
        if match.group("above") and noun.split()[0].lower() in _COMMON:
            return phrase  # "the context above to check ...": its noun stands before it
        stem = _stem(noun)
        if match.group("this_noun") and noun.lower() in _HARMLESS_THIS and stem not in forbidden:
            continue
        if match.group("above") and stem in forbidden:
            return phrase
        if stem in nouns(text[: match.start()]):
            continue
        if stem in resolve and stem not in forbidden:
            continue
        return phrase
    for match in _ORDINAL.finditer(text):
        if _stem(match["noun"]) in forbidden:
            return match.group()
    return None


def pointer_ahead(text: str, resolve: frozenset[str]) -> str | None:
    """Return the phrase of `text` that points at what stands behind it, or None.

    A pointer is bound, and safe, if its list or text follows the colon inside the same block,
    or if it names a noun of `resolve`: the blocks that stand behind it before and after.
    """
    for match in _FORWARD.finditer(text):
        if _is_bound_by_colon(text, match.end()):
            continue
        noun = match.group("following_noun") or match.group("below_noun")
        if noun and _stem(noun) in resolve:
            continue
        return match.group().strip()
    return None


def _is_bound_by_colon(text: str, at: int) -> bool:
    """True if the sentence that contains `at` ends in a colon with content behind it."""
    end = re.search(r"[.!?](?:\s|$)|[:)]", text[at:])  # a remark in parentheses presents nothing
    return bool(end and end.group() == ":" and text[at + end.end() :].strip())


def opens_with_pointer(text: str) -> str | None:
    """Return the word if `text` starts with one that leans on its predecessor, else None."""
    match = _OPENS_WITH_POINTER.match(text)
    return match.group().strip() if match else None


def dangling(text: str) -> str | None:
    """Return the pronoun in the first sentence of `text` that names nothing in it, or None.

    "Give ways to solve it." leans on what stands before; "Read the order and check it." does not.
    """
    sentence = re.split(r"[.!?:](?:\s|$)|\n\s*\n", text.strip(), maxsplit=1)[0]
    match = _PRONOUN.search(sentence)
    if match is None or _ANTECEDENT.search(sentence[: match.start()]):
        return None
    return match.group()


def is_premise(text: str) -> bool:
    """True if `text` is told by somebody ("We have provided ..."): its order is the story's."""
    return bool(_PREMISE.match(text))


def is_opening(text: str) -> bool:
    """True if `text` says who the model is ("You are …"): it stays at the head."""
    return bool(_OPENING.match(text))


def is_cue(line: str) -> bool:
    """True if `line` asks the model to go on from here ("Answer:"): it stays last."""
    return bool(_CUE_LINE.fullmatch(line.strip(" \t\n")))


def ends_in_start(text: str) -> bool:
    """Return True if the last line of `text` starts the dialogue: "Begin!"."""
    return bool(_START_LINE.fullmatch(text.rstrip().rsplit("\n", 1)[-1].strip()))


def ends_in_cue(text: str) -> bool:
    """True if the last words of `text` ask the model to go on ("Summarise it. Title:")."""
    return bool(re.search(r"(?:^|[.!?\n]\s*)[^.!?\n\ufffc]{1,40}[:=>→]\s*$", text))


def has_role_marker(text: str) -> bool:
    """True if `text` switches the speaker inside one string."""
    return bool(_ROLE_MARKER.search(text))


def is_example(text: str) -> bool:
    """True if `text` shows worked examples, or the form of a dialogue line by line."""
    if _EXAMPLE.search(text):
        return True
    labels = {match[1].lower() for match in _FORMAT_LINE.finditer(text)}
    return len(labels) > 1


def percent_field(text: str) -> str | None:
    """Return the first `%s`-like field: its order may carry meaning later."""
    match = _PERCENT_FIELD.search(text)
    return match.group() if match else None


def later_field(text: str) -> str | None:
    """Return the first `{name}` that is left in the text for a later formatting."""
    match = _LATER_FIELD.search(text)
    return match.group() if match else None


def is_question_name(name: str) -> bool:
    """True if a hole or label of this name holds what the user asks."""
    return bool(_QUESTION.search(name))


def is_outside_name(name: str) -> bool:
    """True if a hole of this name holds text that others wrote and that may carry orders."""
    return bool(_FROM_OUTSIDE.search(name))


def label_of(line: str) -> tuple[str, str] | None:
    """Return (label, rest) of `Label: rest`, or None. Rest may be empty."""
    match = _LABEL.fullmatch(line)
    return (match["label"], match["rest"]) if match else None


def is_statement(sentence: str) -> bool:
    """True if `sentence` only names a value ("The current time is ….")."""
    return bool(_STATEMENT.fullmatch(sentence.strip()))
