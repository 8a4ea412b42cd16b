"""From settings to a service that can answer: model, tokenizer, engine, calibration.

The slow part of a start, meant for a thread beside the event loop. Imports torch and
transformers, so import this late.
"""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from stemfirst_server.api.admission import Admission
from stemfirst_server.api.service import Served, Service
from stemfirst_server.engine.engine import Engine
from stemfirst_server.errors import ModelFilesError, UnsupportedModelError
from stemfirst_server.memory.touching import keep_freed_memory
from stemfirst_server.model.demo import DEMO_MODEL_NAME, demo_model_folder
from stemfirst_server.model.loading import load_model
from stemfirst_server.savings.calibration import calibrate
from stemfirst_server.savings.costmodel import CostModel
from stemfirst_server.savings.report import Price
from stemfirst_server.sums import DailySums

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.settings import ServeSettings

DEMO_NOTICE = "demo model with random weights: its text is noise, its timings are real"


def start_service(settings: ServeSettings, progress: Callable[[str], None]) -> Service:
    """Load, start and calibrate; return what answers requests.

    Args:
        settings: what to serve and how.
        progress: told what happens, in a few words each time.

    Raises:
        ModelLoadError: the model cannot be served.
        ConfigError: a setting is out of range.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    keep_freed_memory()
    config = settings.engine_config()
    sums = DailySums(settings.state_dir)
    is_demo = settings.model is None
    if settings.model is None:
        progress("preparing the demo model")
        source = str(_demo_folder())
    else:
        source = settings.model
    names = settings.served_names or (DEMO_MODEL_NAME if is_demo else _name_of(source),)
    load = partial(
        load_model,
        source,
        name=names[0],
        dtype=settings.dtype,
        threads=settings.threads,
        has_one_dnn=settings.has_one_dnn,
        has_fused_layers=settings.attention == "auto",
        device=settings.device,
        context_tokens=settings.context_tokens,
        progress=progress,
    )
    loaded = load()
    tokenizer = _tokenizer(source)
    engine = Engine(loaded, config, settings.tiers())
    engine.start()
    cost_model = CostModel(
        config.chunk_tokens,
        shadow_rate=settings.shadow_rate,
        on_fit=lambda fit: engine.weigh_depth(fit.even_tokens),
    )
    if settings.calibration_s > 0:
        progress("measuring prefill")
        cost_model.calibrate(
            calibrate(
                engine.measure_prefill,
                context_tokens=engine.info.context_tokens,
                chunk_tokens=config.chunk_tokens,
                budget_s=settings.calibration_s,
            )
        )
    return Service(
        engine,
        config,
        tokenizer,
        Served(
            names=names,
            context_tokens=engine.info.context_tokens,
            price=None if settings.price_per_hour is None else Price(settings.price_per_hour),
            notice=DEMO_NOTICE if is_demo else None,
            is_demo=is_demo,
            created_s=int(time.time()),
            most_output_tokens=settings.most_output_tokens,
        ),
        cost_model,
        Admission(config.max_running + settings.most_queued),
        settings.tool_call_parser,
        sums,
        lambda: engine.reload(load()),
        logs_text=settings.logs_text,
    )


def _demo_folder() -> Path:
    try:
        return demo_model_folder()
    except OSError as error:
        raise ModelFilesError(
            f"the demo model's 103 MB could not be written ({error.strerror or error}); "
            "free some space, or point XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _tokenizer(source: str) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise ModelFilesError(
            f"the tokenizer of {source} cannot be loaded ({first}); download the model again"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedModelError(
            f"the tokenizer of {source} has no tokenizer.json, so token positions are unknown; "
            "convert it with transformers' AutoTokenizer, or serve another model"
        )
    return tokenizer


def _name_of(source: str) -> str:
    """Return the folder's name, or the hub id as it is: no path is shown to clients."""
    path = Path(source)
    if path.is_dir():
        resolved = path.resolve()
        # A hub snapshot's folder is named for its commit; its model stands two levels up.
        if resolved.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", resolved.name):
            return resolved.parent.parent.name.removeprefix("models--").replace("--", "/")
        return resolved.name or "model"
    return source
