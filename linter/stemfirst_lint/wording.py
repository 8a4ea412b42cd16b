"""Whether a text reads like a prompt: by the name that it has and by its own words.

Knows templates and the phrases with which people address a model. Knows nothing of sinks; it only
confirms.
"""

from __future__ import annotations

import re

from stemfirst_lint import naming
from stemfirst_lint.model import Template, Text
from stemfirst_lint.patterns import pattern

_CUES = tuple(
    pattern(cue, re.IGNORECASE)
    for cue in (
        r"\b(you|your|you're)\b",
        r"\b(must|should|shall|need to|have to)\b",
        r"\b(do not|don't|never|always|ensure|make sure|please|avoid|only)\b",
        r"\b(following|above|below|given|based on|provided)\b",
        r"(^|[.:\n#*-]\s*)(answer|respond|reply|output|return|generate|write|provide|create|extract|"
        r"summari[sz]e|analy[sz]e|evaluate|judge|decide|identify|list|use|determine|classify|"
        r"translate|compare|rewrite|select|choose|consider|check|explain|describe|think|read)\b",
        r"\b(json|markdown|format|sentences?|paragraphs?|words|language|xml|tags?)\b",
        r"\b(task|question|user|assistant|context|document|conversation|instructions?|examples?|"
        r"answer|response|text)\b",
    )
)
_SHAPE = pattern(
    r"\b(I want you to act as |Pretend (you are|to be) |"
    r"You are (a|an|the|given|now|tasked|responsible|provided|asked)\b|You're an?\b|"
    r"Respond (with|in|only|using)\b|Your (task|job|role|goal|answer|response) |"
    r"Answer (the|only|with|in|based|each)\b|Given (the|a|an|this) |"
    r"(Summarize|Summarise|Translate|Classify|Extract|Evaluate|Analyze|Analyse|Generate|Write|"
    r"Determine|Identify|Rewrite|Return|Output|Provide) (the|a|an|only|your|all|each|this|every)\b|"
    r"Do not (include|add|use|make|output|provide|invent|answer|respond)\b|step by step|"
    r"(If|When) you (do not|don't|cannot|can't) |Use the following|Based on the )",
)
"""Turns of phrase with which people address a model."""

_ADDRESS = pattern(
    r"\b(You are (a|an|the|given|now|tasked|responsible|provided|asked|acting|comparing|evaluating|"
    r"going)\b|You're an?\b|You (will|must|should|need to|have to) |"
    r"[Yy]our (task|job|role|goal|response|answer|output) |[Aa]ct as |"
    r"(Respond|Reply|Answer) (with|in|only|using|strictly)\b|"
    r"(Return|Output|Provide|Write|Generate) "
    r"(only|your|a JSON|JSON|the (result|answer|following))\b|"
    r"(Please|Now,? (please )?)(act|answer|analy|assess|compare|evaluate|judge|rate|generate|write|"
    r"extract|provide|read|summari|identify|review|respond|determine|help|use)|"
    r"Do not (include|add|use|make|output|provide|invent|answer|respond|explain)\b|"
    r"I('ll| will) (give|provide)|I (want|need|would like) you to |"
    r"(Judge|Determine|Decide|Assess|Evaluate|Verify) (whether|if) |"
    r"Given (the|a|an) [\w ,']{3,60}, (determine|generate|write|answer|identify|extract|classify|"
    r"create|rewrite|summari[sz]e)|#+ ?Task Description)"
    r"|你是|请(你|根据|判断|评估|回答|仔细|按|将|严格|直接|只|从|以|对|在|注意)|您(是|的任务|需要)|"
    r"你(的任务|需要|应该|将|必须)"
)
"""How a text speaks to the model that reads it."""
_CHINESE_CUES = tuple(
    pattern(word)
    for word in ("请", "根据", "任务|问题", "要求|规则|标准", "输出|返回|生成", "回答|答案|回复",
                 "注意|必须|不要|不得", "例如|示例|例子", "格式|JSON|json")
)  # fmt: skip

_ABOVE = pattern(
    r"\b((history|conversation|dialog(ue)?|discussion|interaction|transcript|messages|exchange)s? "
    r"(shown |given |provided )?above|"
    r"(above|preceding) (conversation|dialog(ue)?|discussion|interaction|messages|"
    r"(chat |message |conversation )?history))\b",
    re.IGNORECASE,
)
"""How a text speaks of the turns that stand before it."""

NOT_A_PROMPT = pattern(
    r"^\s*(<!DOCTYPE|<html|<\?xml|(?-i:SELECT|select)\s|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|"
    r"CREATE\s+(TABLE|INDEX|OR)|ALTER\s+TABLE|DROP\s|WITH\s+\w+\s+AS\s*\(|#!/|"
    r"from\s+[\w.]+\s+import\s|import\s+[\w.]+\s*($|\n|,|as\s)|def\s+\w+\(|class\s+\w+[(:]|function\s+\w+\(|MATCH\s*\()",
    re.IGNORECASE,
)
"""Beginnings of SQL, HTML and program text."""
_FLAG = pattern(r"(?:^|(?<=\s))--[a-z][\w-]+(?=[ =])")
_LEAST_FLAGS = 4
_WORDS_TO_A_FLAG = 12
"""So many words at most stand to each `--flag value` in what a shell is given."""
_ENOUGH_CUES = 4
_LEAST_CHARACTERS = 160
_PLAIN_CUES = 5
_LEAST_WIDTH = 500
"""Characters of a text that is plain by its words; a Chinese one counts for three."""


def stable_texts(template: Template) -> list[str]:
    """Return the texts of a template that never change, in order."""
    found: list[str] = []
    for piece in template.pieces:
        if isinstance(piece, Text):
            found.append(piece.text)
        elif piece.constant_text is not None:
            found.append(piece.constant_text)
    return found


def lead(template: Template) -> str:
    """Return the first text of a template."""
    texts = stable_texts(template)
    return texts[0] if texts else ""


def is_named(template: Template) -> bool:
    """Return True if the text has a name that people give to prompts."""
    return template.name is not None and bool(naming.PROMPT_NAME.search(template.name))


def is_shaped(template: Template) -> bool:
    """Return True if a turn of phrase addresses a model."""
    texts = stable_texts(template)
    if not texts or NOT_A_PROMPT.match(texts[0]) or _is_command(texts):
        return False
    return any(_SHAPE.search(text) for text in texts)


def is_worded(template: Template) -> bool:
    """Return True if a text that is named like a prompt, or sent, reads like instructions.

    Weaker than `is_shaped`: letters to customers and help texts are worded like this, too.
    """
    if is_shaped(template):
        return True
    texts = stable_texts(template)
    if not texts or NOT_A_PROMPT.match(texts[0]) or _is_command(texts):
        return False
    whole = "\n".join(texts)
    width = _width_of(whole)
    if width < _LEAST_CHARACTERS:
        return False
    if sum(cue.search(whole) is not None for cue in _CHINESE_CUES) >= _ENOUGH_CUES:
        return True
    is_called = is_named(template) and width >= _LEAST_WIDTH
    return sum(cue.search(whole) is not None for cue in _CUES) >= _ENOUGH_CUES - is_called


def _is_command(texts: list[str]) -> bool:
    """True for the command line of a program: flags with their values, and little else."""
    if not any("--" in text for text in texts):
        return False
    whole = " ".join(texts)
    flags = len(_FLAG.findall(whole))
    return flags >= _LEAST_FLAGS and len(whole.split()) <= flags * _WORDS_TO_A_FLAG


def is_behind_turns(template: Template) -> bool:
    """Return True if a text speaks of the conversation above it, and holds none itself."""
    for piece in template.pieces:
        if isinstance(piece, Text):
            if _ABOVE.search(piece.text):
                return True
        elif piece.constant_text is None:
            return False
    return False


def may_be_plain(text: str) -> bool:
    """Return False if no part of a text can be plain, as `is_plain` has it."""
    return _width_of(text) >= _LEAST_WIDTH and _ADDRESS.search(text) is not None


def _width_of(text: str) -> int:
    """How long a text is in letters: a Chinese character says as much as three."""
    return len(text) if text.isascii() else len(text) + 2 * sum(char > "\u2e80" for char in text)


def is_plain(template: Template) -> bool:
    """Return True if a text can be nothing but a prompt, whatever it is called.

    Stricter than `is_shaped`: it also speaks to its reader more than once, and is long.
    """
    texts = stable_texts(template)
    if not texts or NOT_A_PROMPT.match(texts[0]) or _is_command(texts):
        return False
    whole = "\n".join(texts)
    if not may_be_plain(whole):
        return False
    cues = sum(cue.search(whole) is not None for cue in _CUES)
    chinese = sum(cue.search(whole) is not None for cue in _CHINESE_CUES)
    return max(cues, chinese) >= _PLAIN_CUES
