"""What a name says about how often its value changes, where the code says nothing.

Knows the words that people give to parameters, fields, attributes, ids and prompts. Knows no
syntax trees and no library. To teach the linter a word, add it to a table here.
"""

from __future__ import annotations

import re

from stemfirst.tiers import Tier

from stemfirst_lint import subjects
from stemfirst_lint.model import Resolution
from stemfirst_lint.patterns import pattern

CLOCK_PARAMETERS: dict[str, Resolution] = {
    "now": Resolution.SECOND,
    "current_time": Resolution.SECOND,
    "current_datetime": Resolution.SECOND,
    "today": Resolution.DAY,
    "current_date": Resolution.DAY,
    "todays_date": Resolution.DAY,
    "today_date": Resolution.DAY,
}
"""Parameters that are named for the time, and nothing else."""

CLOCK_FIELDS: dict[str, Resolution] = {
    "now": Resolution.SECOND,
    "current_time": Resolution.SECOND,
    "current_datetime": Resolution.SECOND,
    "datetime": Resolution.SECOND,
    "timestamp": Resolution.SECOND,
    "today": Resolution.DAY,
    "date": Resolution.DAY,
    "current_date": Resolution.DAY,
}
"""Fields of template classes that are named for the time; filled out of sight."""

_NOW = pattern(
    r"(^|_)(dt_now|datetime_now|now_dt|time_now|now_str|now_iso|utc_now|utcnow|current_timestamp|"
    r"current_(date_?time|time)(_(str|iso|utc|string))?|date_?time_str)$"
)


def clock_field(name: str) -> Resolution | None:
    """Return how finely the text of a field moves that is named for the time, else None."""
    if name in CLOCK_FIELDS:
        return CLOCK_FIELDS[name]
    return Resolution.SECOND if _NOW.search(name.lower()) else None


_CONFIG_OBJECTS = pattern(r"(^|_)(settings|config|cfg|conf|constants)$")


def is_config_object(name: str) -> bool:
    """Return True for an object that holds deployment settings by the habit of most projects."""
    return _CONFIG_OBJECTS.search(name.lower()) is not None


CARRIER_NAMES = frozenset(
    {"context", "ctx", "request", "state", "session", "message", "task", "result", "page"}
)
"""Names that data has, and also objects that carry settings beside data."""

_REQUEST_WORDS = frozenset(
    {
        "question", "questions", "query", "queries", "input", "inputs", "context", "contexts",
        "docs", "doc", "document", "documents", "passage", "passages", "snippet", "snippets",
        "chunk", "chunks", "message", "messages", "utterance", "answer", "answers", "response",
        "responses", "completion", "transcript", "article", "email", "ticket", "content",
        "contents", "text", "texts", "sentence", "sentences", "paragraph", "paragraphs", "code",
        "diff", "patch", "claim", "claims", "statement", "statements", "topic", "review",
        "observation", "observations", "feedback", "prediction", "generation", "page", "pages",
        "result", "results", "retrieved", "request", "goal", "problem", "url", "summary",
        "summaries", "reference", "hypothesis", "candidate", "task", "command", "stderr", "stdout",
        "traceback", "error", "errors", "scratchpad", "evidence", "facts", "premise", "nodes",
        "reply", "replies", "draft", "essay", "report", "story", "logs", "trajectory",
        "trajectories", "plan", "subtask", "subtasks", "comment", "comments", "caption",
        "captions", "exception", "objective", "transcripts", "screenshot", "intent", "poem",
        "sql", "tweet", "tweets", "post", "posts", "news", "headline", "headlines", "keyword",
        "keywords", "topics", "entity", "entities", "triples", "triplets", "thought", "thoughts",
        "lyrics", "symptoms", "note", "notes", "findings", "citations", "sources",
        "requirement", "requirements", "trace", "events", "alert", "clause", "outline",
        "subtopics", "abstract", "body", "output", "outputs", "html", "dom", "msg", "resume",
        "filename", "filenames", "issue", "issues", "itinerary", "interaction", "interactions",
        "transcription", "subtitles", "proposal", "critique", "critiques", "rationale", "rebuttal",
        "biography", "contract", "invoice", "solution", "solutions", "hypotheses", "excerpt",
        "excerpts", "quote", "quotes", "insights", "reflection", "reflections", "archive",
        "experiences", "scenario", "hunk", "hunks", "references",
    }
)  # fmt: skip
_ADDRESS_WORDS = frozenset(
    {"api", "base", "server", "site", "db", "database", "endpoint", "callback", "proxy", "hub",
     "host", "service", "root", "home", "repo"}
)  # fmt: skip
"""First words that make a setting of a URL."""
_HOLDERS = frozenset({"context", "contexts", "text", "content", "contents", "output", "code"})
_KEPT_MATTERS = frozenset(
    {"personality", "persona", "role", "roles", "rule", "rules", "guideline", "guidelines",
     "policy", "policies", "skill", "skills", "style", "tone", "brand", "language", "schema"}
)  # fmt: skip
"""What a text is about if it stays: `personality_context`, `rules_text`."""
_SESSION_WORDS = frozenset({"history", "conversation", "dialogue", "dialog", "memory", "memories"})
_PARTS_OF_SESSIONS = frozenset(
    {"text", "summary", "context", "log", "messages", "entries", "turns", "section", "str", "so",
     "far", "content"}
)  # fmt: skip
_TENANT_WORDS = frozenset({"user", "customer", "profile", "tenant", "account", "username"})
_CONFIG_WORDS = frozenset(
    {
        "schema", "format", "language", "lang", "locale", "model", "config", "settings", "template",
        "prompt", "instruction", "instructions", "prefix", "suffix", "separator", "delimiter",
        "header", "label", "labels", "type", "types", "mode", "style", "tone", "name", "version",
        "tools", "tool", "field", "fields", "key", "keys", "limit", "max", "min", "num", "count",
        "k", "size", "length", "default", "option", "options", "class", "path", "file", "dir",
        "role", "description", "desc", "system", "direction", "directions", "domain", "kind",
        "examples", "example", "criteria", "definition",
    }
)  # fmt: skip
_QUALIFIERS = frozenset(
    {
        "max", "min", "num", "number", "n", "is", "has", "use", "include", "with", "should", "top",
        "total", "count", "per", "show", "add", "return", "allow", "enable", "no", "prompt",
        "template", "default", "example", "allowed", "valid", "supported", "available", "possible",
        "permitted", "known",
    }
)  # fmt: skip
"""First words that make a number, a switch or a template of what follows: `max_documents`."""
_KEPT_DATA = (
    _CONFIG_WORDS | _KEPT_MATTERS | _TENANT_WORDS | {"location", "meta", "agent", "training", "app"}
)
"""Words that make data of what stays for a user at least: `location_data`."""
_PLAIN_TYPES = pattern(r"^(Optional\[)?(int|float|bool)\b")
_CHOICE = pattern(r"^(Optional\[)?(\w+\.)?Literal\[")
_WORD = pattern(r"[a-z]+|[A-Z][a-z]*|\d+")


def _words_of(name: str) -> list[str]:
    """The words of a name, small: of `user_input`, `userInput` and `USER_INPUT` the same two."""
    return [word.lower() for word in _WORD.findall(name.lower() if name.isupper() else name)]


_DATA_TYPES = pattern(
    r"\b(Document|NodeWithScore|BaseNode|QueryBundle|ChatMessage|BaseMessage|UploadFile|Request)\b"
)


def is_choice(annotation: str | None) -> bool:
    """Return True for a type that spells all that a value can be: `Literal["a", "b"]`."""
    return annotation is not None and _CHOICE.match(annotation) is not None


def parameter_tier(name: str, annotation: str | None) -> Tier | None:
    """Return the tier that a parameter's name or type speaks for, or None if neither does.

    Words for settings win: `query_language` and `input_schema` are no data.
    """
    words = _words_of(name)
    if len(words) > 1 and words[-1] in ("str", "string", "list", "json", "block", "data"):
        words.pop()  # `context_str` is a context
    if (words and words[0] in _QUALIFIERS) or (annotation and _PLAIN_TYPES.match(annotation)):
        return None
    if words and words[0] in ("system", "sys", "developer"):
        return None  # a `system_message` is whatever callers say it is
    if _REQUEST_PHRASES.search(name.lower()):
        return Tier.REQUEST
    if _is_made_before(words) or (subjects.SUBJECTS.search(name) and name != "project"):
        return Tier.REQUEST
    if words and words[-1] in _CONFIG_WORDS and not (words[-1] == "name" and len(words) > 1):
        return None
    if words and words[-1] in ("url", "uri") and words[0] in _ADDRESS_WORDS:
        return None
    if re.search(r"[a-z]_data$", name) and not _KEPT_DATA.intersection(words):
        return Tier.REQUEST  # `market_data`; the last word was dropped above
    if len(words) > 1 and words[-1] in _HOLDERS and words[-2] in _KEPT_MATTERS:
        return None
    if _is_of_session(words):
        return Tier.SESSION
    if words and (words[-1] in _REQUEST_WORDS or (words[0] in _REQUEST_WORDS and len(words) <= 2)):
        return Tier.REQUEST
    if any(word in _TENANT_WORDS for word in words):
        if words[-1] in ("input", "message", "question", "query", "prompt", "request"):
            return Tier.REQUEST
        return Tier.TENANT
    if annotation is not None and _DATA_TYPES.search(annotation):
        return Tier.REQUEST
    return None


_MADE_BEFORE = frozenset(
    {"original", "previous", "prev", "existing", "extracted", "generated", "retrieved", "proposed",
     "predicted", "failed", "latest", "recent", "submitted", "uploaded", "candidate", "revised"}
)  # fmt: skip


def _is_made_before(words: list[str]) -> bool:
    """True for `original_op` and `extracted_people`: what an earlier step of the request left."""
    return len(words) > 1 and words[0] in _MADE_BEFORE and not _KEPT_DATA.intersection(words[1:])


def _is_of_session(words: list[str]) -> bool:
    """True for `chat_history` and `history_text`, not for `conversation_purpose`."""
    if not words:
        return False
    is_text = words[-1] in _PARTS_OF_SESSIONS
    return words[-1] in _SESSION_WORDS or (
        is_text and any(word in _SESSION_WORDS for word in words)
    )


_IDENTITIES = pattern(
    r"^(?:current_|the_)?(?:(user|tenant|account|customer|org|organization|workspace|client)_?"
    r"(?:id|uuid|name|email|full_name|first_name|last_name)|username|"
    r"((?:chat_)?session|thread|conversation|chat)_?(?:id|uuid)|"
    r"((?:request|run|trace|message|call)_?(?:id|uuid)))$"
)


_SENDERS = pattern(
    r"^_*(a_?)?(generate|complete|ask|run|call|invoke|chat|query|predict|send|submit|execute)(_|$)"
)


def is_sent_prompt(name: str, function: str) -> bool:
    """Return True for the `prompt` of a function that is named for sending it: a request's own."""
    return name in ("prompt", "user_prompt") and _SENDERS.match(function) is not None


def identity_tier(name: str) -> Tier | None:
    """Return how often the id or name of a user, session or request changes; else None."""
    match = _IDENTITIES.match(name.lower())
    if match is None:
        return None
    if match.group(3):
        return Tier.REQUEST
    return Tier.SESSION if match.group(2) else Tier.TENANT


_SAYERS = (
    r"(model|llm|agent|assistant|ai|bot|student|candidate|actual|predicted|previous|prior|last|"
    r"existing|correct|reference|generated|initial|original|current|proposed|first|second|gold|"
    r"expected|final|submitted|user|given)"
)
_REQUEST_PHRASES = pattern(
    rf"(^|_){_SAYERS}_(answer|response|reply|completion|solution|message|sql|essay|draft|report|"
    r"plan|summary|code|text|query|question|task|turn)s?$|"
    r"(^|_)(user|task|original|raw)_(prompt|task|request|instructions?|text|content|message|input|desc|"
    r"info|result|requirements?|description|objective|goal|context)$|"
    r"(^|_)(tool|function|search|scraped|crawled|fetched|execution|test)_"
    r"(outputs?|results?|responses?|content|data|errors?)$|"
    r"(^|_)(issue|pr|pull_request|bug|ticket|email|job|product|item|event|incident|alert|patient|"
    r"movie|video|image|paper|article|book|news|document|doc|page|commit|review|chapter|"
    r"question|problem|function|file|candidate|applicant|resume|cv|meeting|report|claim|entity|"
    r"topic|query|row|json|input|raw|case|tweet|post|message|transcript|company|market|business|"
    r"competitor|person|character|scene|frame|screen|chart|figure|property|listing|order|trip|"
    r"travel|contact|student|employee|medical|financial|interview|bug|crash|subject|solution)_"
    r"(title|body|description|info|details|text|contents?|data|summary|abstract|elements|str|"
    r"analysis|profile|record)$|"
    r"(^|_)(ground_truth|stack_trace|ui_elements|game_state|current_state|story_so_far|"
    r"chat_log|page_content|error_(message|text|msg|log)s?|web_page|"
    r"webpage_text|dependency_tasks_info|previous_(steps|results|tasks|attempts|actions))$"
)
"""Names of two words that say data, though the last word alone may say a setting."""

_TAIL = r"(_(str|string|text|list|block|data|json))?$"
_DATA_NAMES = pattern(
    r"(^|_)(questions?|quer(y|ies)|user_(input|message|query|question|prompt|request)|input_text|"
    r"utterance|transcripts?|articles?|emails?|tickets?|search_results?|retrieved\w*|"
    r"observations?|scratchpad|claims|evidence|premise|hypothesis|generated_text|report_data|"
    r"initial_research|stdout|stderr|traceback)" + _TAIL
)
_BROAD_NAMES = pattern(
    r"^((user|retrieved|search|input|source|web|current|original|chat|conversation|relevant|rag|"
    r"full|raw|query|document|doc|research|initial|related|final|safe|page|paper)_)*"
    r"(contexts?|docs|documents?|passages?|chunks|snippets?|summar(y|ies)|completion)" + _TAIL
)
"""Nouns that name data by themselves, but not in `tool_docs` or `skills_snippet`."""

_HISTORY_NAMES = pattern(r"(^|_)(history|conversation|dialogue|transcript|memories)(_str|_text)?$")


def data_tier(name: str) -> Tier | None:
    """Return the tier that a name speaks for by itself, wherever it stands, or None.

    Stricter than `parameter_tier`: a local variable called `text` may be a part of the prompt.
    """
    lowered = name.lower()
    words = _words_of(name)
    if words and (words[0] in _QUALIFIERS or words[0] in ("example", "sample", "default")):
        return None
    if words == ["json", "str"]:
        return None  # any object's text
    if _HISTORY_NAMES.search(lowered):
        return Tier.SESSION
    is_data = (
        _DATA_NAMES.search(lowered)
        or _BROAD_NAMES.match(lowered)
        or _REQUEST_PHRASES.search(lowered)
    )
    return Tier.REQUEST if is_data else None


_LOCAL_NAMES = pattern(
    r"^(answers?|responses?|replies|reply|feedback|topic|problem|draft|claim|statements?|"
    r"error|errors|traceback|trajectory|article|essay|story|logs|diff|"
    r"findings|results?|result_text|output_text|answer_text|response_text|"
    r"task|sub_?tasks?|goal_text|request_text|text_chunk|chunk|sentence|paragraph|"
    r"code_(snippet|block|diff)|webpage|comments?|review|reviews)$"
)


def may_be_data(name: str) -> bool:
    """Return False for the name of what an object is set up with: `instructions`, `tools`."""
    words = _words_of(name)
    return not is_setting(name) and not (words and words[-1] in _CONFIG_WORDS)


_CONTENT_NAMES = pattern(
    r"^(specs?|specifications?|source|files?|page|readme|note|notes|notebook|markdown|md|html|pdf|"
    r"csv|repo|web|website|site|blog|log|log_file|chapter|slides?|original|old|existing|uploaded|"
    r"attachments?|draft|current)_(file_)?(contents?|text|excerpt|body)$"
)
"""What is read from a file or a page, whatever reads it."""

_MAKERS = pattern(
    r"load|read|template|prompt|render|build|make|create|section|instruction|schema|tool|skill|"
    r"config|default|example|setting|guide|format|join|describe|role|persona",
    re.IGNORECASE,
)


def local_tier(name: str, source: str | None = None) -> Tier | None:
    """Return the tier that a local variable's name speaks for if its value says nothing.

    Args:
        name: the variable's.
        source: the name of what was called or asked for the value, if something was.
    """
    found = data_tier(name)
    if found is None and (_LOCAL_NAMES.match(name) or _CONTENT_NAMES.match(name)):
        return Tier.REQUEST
    if found is None and source and not _MAKERS.search(source):
        tier = field_tier(name)
        return tier if tier is Tier.REQUEST else None
    return found


_SETTING_NAMES = pattern(
    r"(^|_)(languages?|lang|locale|persona|domain|types?|format|schema|role|tone|style|criteria|"
    r"expertise|profession|dialect|currency|timezone|level|mode|strategy|strategies|model|"
    r"personality|guidelines?|rules?|instructions|examples?|tools?|version|filters?|filters_str|name|desc(ription)?s?|"
    r"(work|working|project|output|base|root|data|save)_?(dir|directory|folder|root)|work_?(space|place)|"
    r"preferences?|config(uration)?|cfg|settings|temperature|iterations|timeout)$|"
    r"^(max|min|num|top)_\w+$",
    re.IGNORECASE,
)


def is_setting(name: str) -> bool:
    """Return True for a name of what stays for long, wherever its value was taken from."""
    lowered = name.lower()
    return (
        _SETTING_NAMES.search(name) is not None
        and not _REQUEST_PHRASES.search(lowered)
        and not subjects.SUBJECTS.search(name)
    )


def is_varied(name: str, iterated: str | None) -> bool:
    """Return True for the element of a loop that may be data: not one of many settings."""
    return not any(
        subjects.KEPT_ELEMENTS.search(one.lower()) is not None for one in (name, iterated or "")
    ) and not is_setting(name)


_FIELD_CONFIG = frozenset(
    {
        "output",
        "outputs",
        "steps",
        "sources",
        "note",
        "notes",
        "requirements",
        "body",
        "goal",
        "inputs",
        "code",
        "reference",
        "result",
        "results",
        "page",
        "pages",
    }
)


def field_tier(name: str) -> Tier | None:
    """Return the tier that a template's field speaks for if nothing is known of its value.

    A field is named for what the prompt's reader calls it, so its name says more than that of a
    variable.
    """
    found = data_tier(name)
    if found is not None or name.lower() in _FIELD_CONFIG:
        return found
    tier = parameter_tier(name, None)
    return tier if tier is Tier.REQUEST else None


PROMPT_NAME = pattern(
    r"(^|_)(PROMPT|PROMPTS|SYSTEM_MESSAGE|SYSTEM_MSG|SYSTEM_INSTRUCTIONS?|INSTRUCTIONS?)"
    r"(_|$)|PROMPT_TE?MPL|^SYSTEM_|^(SYSTEM|USER|HUMAN)$|_(SYSTEM|USER|HUMAN)$|LLM_DIRECTIVE|META_?PROMPT|"
    r"(^|_)(GRADERS?|JUDGES?|JUDGE?MENT|GRADING|CRITIQUE|EVAL\w*|SCORING|VERIF\w*|REFLECTION|"
    r"PLANNER|SUMMARI[SZ]\w*|REWRITE\w*|EXTRACTION|CLASSIF\w*|QA|RAG|LLM|COT|FEW_?SHOT)_"
    r"(TEMPLATE|TMPL)$",
    re.IGNORECASE,
)
"""Names that people give to prompts."""

PROMPT_OWNER = pattern(r"Prompt|Templates?$")
"""Names of classes whose methods return prompts."""

PROMPT_PATH = pattern(r"(^|[/\\_.-])prompts?([_.-][^/\\]*)?([/\\][^/\\]*)?$", re.IGNORECASE)
"""Files of prompts, and files in a folder of them."""
