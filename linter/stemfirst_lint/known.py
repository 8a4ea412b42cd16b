"""What library calls say about how often a value changes.

Knows calls of the standard library and of common packages, and the names of callees that speak
for themselves. Knows no syntax trees. To teach the linter a call, add it to a table here.
"""

from __future__ import annotations

import re

from stemfirst.tiers import Tier

from stemfirst_lint.model import Resolution
from stemfirst_lint.patterns import pattern

CLOCKS: dict[str, Resolution] = {
    "datetime.datetime.now": Resolution.SECOND,
    "datetime.datetime.utcnow": Resolution.SECOND,
    "datetime.datetime.today": Resolution.SECOND,
    "datetime.date.today": Resolution.DAY,
    "time.time": Resolution.SECOND,
    "time.time_ns": Resolution.SECOND,
    "time.monotonic": Resolution.SECOND,
    "time.perf_counter": Resolution.SECOND,
    "time.ctime": Resolution.SECOND,
    "time.asctime": Resolution.SECOND,
    "time.localtime": Resolution.SECOND,
    "time.gmtime": Resolution.SECOND,
    "pendulum.now": Resolution.SECOND,
    "pendulum.today": Resolution.DAY,
    "arrow.now": Resolution.SECOND,
    "arrow.utcnow": Resolution.SECOND,
    "pandas.Timestamp.now": Resolution.SECOND,
    "pandas.Timestamp.today": Resolution.SECOND,
    "django.utils.timezone.now": Resolution.SECOND,
    "django.utils.timezone.localtime": Resolution.SECOND,
}
"""Calls that read a clock, and how finely their text moves as it is."""

RANDOM_CALLS = frozenset(
    {
        "uuid.uuid1",
        "uuid.uuid4",
        "uuid.uuid7",
        "os.urandom",
        "random.random",
        "random.randint",
        "random.randrange",
        "random.uniform",
        "random.choice",
        "random.getrandbits",
        "random.randbytes",
        "secrets.token_hex",
        "secrets.token_urlsafe",
        "secrets.token_bytes",
        "secrets.randbelow",
        "secrets.choice",
        "numpy.random.randint",
        "numpy.random.rand",
        "numpy.random.choice",
    }
)
"""Calls whose result differs between two identical calls. A seeded generator object is none."""

SHUFFLES = frozenset({"random.shuffle", "numpy.random.shuffle"})
"""Functions that mix a list in place."""

SAMPLES = frozenset({"random.sample", "random.choices", "numpy.random.permutation"})
"""Functions that return some members in a random order."""

COMPLETIONS = frozenset({"concurrent.futures.as_completed", "asyncio.as_completed"})
COMPLETION_METHODS = frozenset({"imap_unordered"})
"""Calls that give results in the order in which they get ready."""

LISTINGS = frozenset({"os.listdir", "os.scandir", "glob.glob", "glob.iglob", "os.walk"})
LISTING_METHODS = frozenset({"iterdir", "glob", "rglob"})
"""Calls that list files in no order that one could rely on."""

ENVIRONMENT_CALLS: dict[str, Tier] = {
    "os.getcwd": Tier.SESSION,
    "pathlib.Path.cwd": Tier.SESSION,
    "os.getpid": Tier.SESSION,
    "os.getppid": Tier.SESSION,
    "socket.gethostname": Tier.SESSION,
    "socket.getfqdn": Tier.SESSION,
    "platform.node": Tier.SESSION,
    "getpass.getuser": Tier.TENANT,
    "os.getlogin": Tier.TENANT,
}
"""Calls that tell where a process runs, and how often that changes."""

PROCESS_CALLS = frozenset(
    {"subprocess.run", "subprocess.check_output", "subprocess.getoutput", "os.popen"}
)
"""Calls that run a command; what git says changes with every edit."""

CONFIG_CALLS = frozenset(
    {
        "os.getenv",
        "os.environ.get",
        "platform.system",
        "platform.machine",
        "platform.python_version",
        "importlib.metadata.version",
        "importlib.resources.read_text",
        "importlib.resources.files",
        "pkgutil.get_data",
    }
)
"""Calls that answer the same for a whole deployment."""

COMMAND_LINES = frozenset({"parse_args", "parse_known_args", "parse_args_into_dataclasses"})
"""Methods that read a process's command line."""

CONFIG_PREFIXES = ("os.environ", "sys.platform", "sys.version", "os.sep", "os.linesep", "string.")
"""Dotted names below which everything is the same for a whole deployment."""

REQUEST_PREFIXES = tuple(
    f"{framework}.request.{part}"
    for framework in ("flask", "quart", "bottle")
    for part in ("json", "form", "args", "values", "data", "files", "query", "forms", "params")
)
"""Dotted names below which stands what one request sent."""

TYPED_CALLS = pattern(
    r"^(input|sys\.stdin\.(read|readline|readlines)|click\.(prompt|edit)|typer\.prompt|"
    r"rich\.prompt\.Prompt\.ask|prompt_toolkit\.prompt|getpass\.getpass|"
    r"(flask|quart)\.request\.get_(json|data)|"
    r"streamlit\.(sidebar\.)?(text_input|text_area|chat_input|selectbox|multiselect|radio|slider|"
    r"select_slider|number_input|date_input|file_uploader|pills))$"
)
"""Calls of libraries that give back what a person typed or chose."""

TYPED_METHODS = frozenset(
    {"text_input", "text_area", "chat_input", "file_uploader", "multiselect", "receive_text",
     "receive_json", "get_json"}
)  # fmt: skip
"""Methods of the columns of a page, of web sockets and requests that do."""

PURE_CALLS = frozenset(
    {
        "str", "repr", "int", "float", "bool", "format", "round", "abs", "ascii", "chr", "ord",
        "dict", "zip", "enumerate", "map", "filter", "reversed", "range", "type", "iter", "next",
        "json.dumps", "json.loads", "textwrap.dedent", "textwrap.indent", "textwrap.fill",
        "textwrap.shorten", "inspect.cleandoc", "inspect.getdoc", "inspect.getsource",
        "html.escape", "re.sub", "os.path.join", "os.path.basename", "os.path.dirname",
        "pathlib.Path", "yaml.dump", "yaml.safe_dump", "yaml.safe_load", "copy.copy",
        "copy.deepcopy", "itertools.chain", "pprint.pformat", "typing.cast", "getattr", "open",
        "dataclasses.asdict", "collections.Counter", "collections.OrderedDict", "ast.literal_eval",
        "inspect.signature", "functools.partial", "operator.itemgetter", "vars",
    }
)  # fmt: skip
"""Functions whose result depends on their arguments alone."""

PURE_METHODS = frozenset(
    {
        "strip", "lstrip", "rstrip", "upper", "lower", "title", "capitalize", "casefold", "replace",
        "join", "format", "format_map", "split", "rsplit", "splitlines", "partition", "rpartition",
        "removeprefix", "removesuffix", "encode", "decode", "zfill", "ljust", "rjust", "center",
        "expandtabs", "translate", "swapcase", "items", "values", "keys", "get", "copy", "hex",
        "isoformat", "model_dump", "model_dump_json", "model_json_schema", "to_dict", "dict",
        "json", "schema", "schema_json", "read_text", "read", "to_json", "tolist", "index",
        "as_posix", "get_content", "group", "groups",
    }
)  # fmt: skip
"""Methods whose result depends on their receiver and arguments alone."""

ORDER_FREE_CALLS = frozenset({"sorted", "len", "sum", "min", "max", "any", "all", "bool"})
"""Functions that forget the order of their argument."""

ORDER_KEEPING_CALLS = frozenset(
    {"list", "tuple", "str", "repr", "enumerate", "iter", "map", "filter", "reversed", "next",
     "json.dumps", "itertools.chain", "format"}
)  # fmt: skip
"""Functions whose result shows the order of their argument."""

SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
"""Methods of a set that return a set."""

REQUEST_CALLS = pattern(
    r"^(a?retrieve|a?similarity_search\w*|a?get_relevant_documents|a?search_(documents|docs|memory|"
    r"memories|index|web)|a?web_search|retrieve_\w+|fetch_(context|documents|memories))$"
)
"""Callees whose result is looked up for one request."""

SEARCHES = pattern(r"^a?(search|query|recall)$")
"""Methods that look something up for one request in what `STORES` names."""

STORES = pattern(r"(^|_)(memory|memories|vector_?(store|db)|retriever|knowledge_base)$")
"""Names of what holds more than one request asks for."""

MODEL_CALLS = pattern(
    r"^_*(a?invoke|a?predict(_messages)?|a?complete|a?completion|"
    r"a?generate_(content|text|response|answer|completion|reply)|"
    r"(create_|a)?chat_completion(_request)?|aask|a?chat|"
    r"a?(get|fetch|request)_(\w+_)?(completion|response|answer)s?_(from_)?(llm|gpt\w*|openai|claude|"
    r"model|gemini|chat\w*)|get_(llm|gpt\w*|chat\w*|model|openai)_(response|completion|answer|output)|"
    r"get_(chat_)?completion|(ask|call|query|run|prompt|invoke|request|chat|chat_with)_"
    r"(the_)?(llm|model|gpt\w*|chatgpt\w*|openai\w*|claude\w*|gemini\w*|anthropic|bedrock\w*|api)|"
    r"llm_(call|complete|generate|response|chat|query|invoke|request))$"
)
"""Callees that return what a model answered."""

TRANSFORMS = pattern(
    r"^_*(format|stringify|serialize|truncate|clean|escape|sanitize|clip|trim|shorten|normalize|"
    r"quote|indent|dump|convert|compress|flatten|number|concat|join|merge|limit|encode|decode|"
    r"to_(str|string|text|markdown|prompt)|parse|strip|extract|summarize|summarise|chunk|split|"
    r"render|stringify|pretty|unwrap|redact|mask)(_|$)"
)
"""Callees whose result is made of what they are given, by their name."""

LOOKUP_CALLS = pattern(r"^a?(search|retrieve|look_?up|find|fetch|query|recall)(_|$)")
"""Callees whose result follows the data of a request that they are given."""


def strftime_resolution(layout: str) -> Resolution:
    """Return how finely the text of `strftime(layout)` moves."""
    codes = set(re.findall(r"%[-#]?([A-Za-z])", layout))
    if codes & set("SfcXTsr+"):
        return Resolution.SECOND
    if codes & set("MR"):
        return Resolution.MINUTE
    if codes & set("HI"):
        return Resolution.MINUTE
    return Resolution.DAY
