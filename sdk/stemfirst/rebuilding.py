"""A prompt built once more, in a process of its own: what is not constant in it shows.

Knows how to find the module that holds a prompt, and how to import it elsewhere. Does not compare.
"""

from __future__ import annotations

import os
import pickle
import secrets
import subprocess
import sys
import tempfile
from types import ModuleType

from stemfirst.prompt import Prompt

LONGEST_S = 120.0
"""How long the import of the module may take."""

# Run in the other process: the name that a module is imported by may not be its file's.
_PROGRAM = """
import importlib, importlib.util, pickle, sys
name, path, attribute, out = sys.argv[1:]
try:
    if name == "__main__":
        raise ImportError
    module = importlib.import_module(name)
except ImportError:
    spec = importlib.util.spec_from_file_location(name.replace("__main__", "_main"), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
with open(out, "wb") as file:
    pickle.dump(getattr(module, attribute), file)
"""


def built_anew(prompt: Prompt) -> Prompt | None:
    """Return the prompt as another process builds it, or None where no module holds it.

    The other process has another hash seed, the same `sys.path` and the same folder.

    Raises:
        ValueError: the module cannot be imported there, or holds no prompt then; with its words.
    """
    found = _home_of(prompt)
    if found is None:
        return None
    module, attribute = found
    path = module.__file__ or ""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": str(1 + secrets.randbelow(2**32 - 1)),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "prompt")
        try:
            ended = subprocess.run(
                [sys.executable, "-c", _PROGRAM, module.__name__, path, attribute, out],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{module.__name__}.{attribute} cannot be built anew in another process: its "
                f"import took longer than {LONGEST_S:g} s"
            ) from None
        if ended.returncode:
            words = ended.stderr.strip().splitlines()[-1:] or [f"exit {ended.returncode}"]
            raise ValueError(
                f"{module.__name__}.{attribute} cannot be built anew in another process: {words[0]}"
            )
        with open(out, "rb") as file:
            made = pickle.load(file)  # noqa: S301 we wrote it, in a folder of our own
    if not isinstance(made, Prompt):
        raise ValueError(f"{module.__name__}.{attribute} is no prompt in another process: {made!r}")
    return made


def _home_of(prompt: Prompt) -> tuple[ModuleType, str] | None:
    """Return the module that built a prompt and holds it, and the prompt's name there."""
    origins = {
        item.origin.path for message in prompt.messages for item in message.segments if item.origin
    }
    held = [
        (module, name)
        for module in list(sys.modules.values())
        if isinstance(module, ModuleType) and getattr(module, "__file__", None)
        for name, value in list(vars(module).items())
        if value is prompt
    ]
    # Others may only have imported it.
    held.sort(key=lambda found: found[0].__file__ not in origins)
    return held[0] if held else None
