"""From a folder or a hub id to a model that is ready to serve, or one sentence why not.

Knows: Hugging Face checkpoints, and what of them can be missing, half-downloaded or unfit. Does
not know the engine.
"""

from __future__ import annotations

import json
import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from stemfirst_server.engine.request import ModelInfo
from stemfirst_server.errors import ModelFilesError, UnsupportedModelError
from stemfirst_server.model import gates
from stemfirst_server.model.attention import register
from stemfirst_server.model.context import context_of
from stemfirst_server.model.fastest import fastest_dtype, fastest_threads
from stemfirst_server.model.fused import fuse
from stemfirst_server.model.last_layer import narrow
from stemfirst_server.model.linear import take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stemfirst_server.memory.pool import LayerShape

_log = logging.getLogger("stemfirst.model")

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_INDEX = "model.safetensors.index.json"
_DOWNLOAD_AGAIN = "download the model again"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that has passed the gates.

    Attributes:
        model: the transformers model, in evaluation mode, with our attention.
        info: what the rest of the server may know of it.
        shapes: what each layer stores for a token.
        narrowed_layer: the last one, if it may be computed for the wanted tokens alone.
    """

    model: Any
    info: ModelInfo
    shapes: dict[int, LayerShape]
    narrowed_layer: int | None = None


def load_model(
    source: str,
    *,
    name: str | None = None,
    dtype: str = "auto",
    threads: int | None = None,
    has_one_dnn: bool = False,
    has_fused_layers: bool = True,
    device: str = "auto",
    context_tokens: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> LoadedModel:
    """Load a causal language model and let it pass the three gates.

    Args:
        source: a checkpoint folder, or an id on the Hugging Face hub.
        name: what to call it; `source` by default.
        dtype: `auto` (the checkpoint's), `float32`, `bfloat16`, `float16`, or `fastest`: on a CPU
            bfloat16 or float32 as measured, elsewhere the checkpoint's.
        threads: of the CPU; 0 measures which number is fastest; None leaves torch's own choice.
        has_one_dnn: let oneDNN compute linear layers on a CPU where it is measured to be faster.
        has_fused_layers: compute layers of common families with fewer calls on a CPU, where they
            prove to give the same.
        device: `auto` (CUDA if there is any), `cpu`, `cuda` or `cuda:N`.
        context_tokens: a lower limit than the model's own.
        progress: told what happens, in a few words each time.

    Raises:
        ModelFilesError: files are missing, half-downloaded or unreadable.
        UnsupportedModelError: a gate refused it, or a setting does not fit it.
    """
    target = _device(device)
    folder = Path(source)
    if folder.is_dir():
        check_files(folder)
    elif folder.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelFilesError(
            f"there is no model folder at {source}; check the path, or give a hub id such as "
            "organisation/name"
        )
    progress("reading configuration")
    config = _config(source)
    model_class = _model_class(config, source)
    gates.check_layer_types(config, model_class)
    context = context_of(config)
    limit = context.limited(context_tokens)
    if context.shortened:
        _log.warning("%s", context.shortened)
    progress("loading weights")
    register()
    quantizer = quantizer_of(config)
    wanted = _dtype(dtype)
    if threads:
        torch.set_num_threads(threads)
    if wanted == "fastest":
        # Of weights in eight bits, the library chooses.
        is_measured = target.type == "cpu" and quantizer is None
        wanted = fastest_dtype(_width(config)) if is_measured else "auto"
    model = _weights(source, wanted, quantizer)
    if threads == 0 and target.type == "cpu":
        torch.set_num_threads(fastest_threads(_width(config), model.dtype))
    try:
        model.to(target)
    except torch.OutOfMemoryError as error:
        raise UnsupportedModelError(
            f"{source} does not fit in the memory of {target}; choose a smaller model, "
            "--dtype bfloat16, or --device cpu"
        ) from error
    model.eval()
    if has_one_dnn:
        take_over(model)
    gates.use_our_attention(model)
    progress("checking attention")
    shapes = gates.probe(model)
    largest_error = gates.self_test(model, shapes)
    progress(f"self-test passed, largest error {largest_error:.1e}")
    if has_fused_layers:
        fuse(model, shapes, limit)
    narrowed_layer = narrow(model, shapes)
    parameter_bytes = model.dtype.itemsize
    info = ModelInfo(
        name=name or source,
        architecture=type(model).__name__,
        context_tokens=limit,
        vocab_size=int(config.get_text_config().vocab_size),
        end_token_ids=_end_tokens(model),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(target),
        kv_bytes_per_token=sum(s.values_per_token() for s in shapes.values()) * parameter_bytes,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    return LoadedModel(model=model, info=info, shapes=shapes, narrowed_layer=narrowed_layer)


def check_files(folder: Path) -> None:
    """Refuse a folder that lacks something, before anything heavy is done.

    Raises:
        ModelFilesError: names what is missing or cut short.
    """
    if not (folder / "config.json").is_file():
        raise ModelFilesError(
            f"{folder} has no config.json, so it is no Hugging Face model; give the folder that "
            "holds config.json and the weights"
        )
    index = folder / _INDEX
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelFilesError(f"{index} cannot be read; {_DOWNLOAD_AGAIN}") from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise ModelFilesError(
                f"{folder} is half downloaded: {len(missing)} of {len(shards)} weight files are "
                f"missing, {missing[0]} first; {_DOWNLOAD_AGAIN}"
            )
        _check_lengths(folder / shard for shard in shards)
        return
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not list(folder.glob("*.bin")):
        raise ModelFilesError(
            f"{folder} has a config.json and no weights (*.safetensors); {_DOWNLOAD_AGAIN}"
        )
    _check_lengths(weights)


def _check_lengths(weights: Iterable[Path]) -> None:
    # A safetensors file says in its header where its last tensor ends.
    for path in weights:
        if path.suffix != ".safetensors":
            continue
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            header_bytes = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if 8 + header_bytes > size:
                raise ModelFilesError(f"{path} is cut short; {_DOWNLOAD_AGAIN}")
            try:
                header = json.loads(file.read(header_bytes))
            except ValueError as error:
                raise ModelFilesError(
                    f"{path} is no safetensors file (a pointer left by git without LFS?); "
                    f"{_DOWNLOAD_AGAIN}"
                ) from error
        end = max(
            (t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"), default=0
        )
        expected = 8 + header_bytes + end
        if size != expected:
            raise ModelFilesError(
                f"{path} is cut short: {size} of {expected} bytes; {_DOWNLOAD_AGAIN}"
            )


def _config(source: str) -> Any:
    try:
        return AutoConfig.from_pretrained(source)
    except (ValueError, KeyError) as error:
        raise UnsupportedModelError(
            f"the architecture of {source} is not known to transformers {transformers.__version__}"
            f" ({_first_line(error)}); upgrade transformers or choose another model"
        ) from error
    except (OSError, TypeError, AttributeError) as error:
        raise ModelFilesError(
            f"the configuration of {source} cannot be read ({_first_line(error)}); check the "
            f"spelling and the network, or {_DOWNLOAD_AGAIN}"
        ) from error


def _model_class(config: Any, source: str) -> Any:
    try:
        # The mapping's item is the class that `from_pretrained` would build.
        found = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError as error:
        raise UnsupportedModelError(
            f"{source} is a {config.model_type} model, which transformers has no causal language "
            "model for; choose a decoder-only text model"
        ) from error
    return found[0] if isinstance(found, (tuple, list)) else found


def quantizer_of(config: Any) -> str | None:
    """Return the name of what quantised a checkpoint's weights, such as `torchao`; None: nothing.

    Args:
        config: the model's configuration.
    """
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    name = found.get("quant_method") if isinstance(found, dict) else found.quant_method
    return str(getattr(name, "value", name))


def _weights(source: str, dtype: torch.dtype | str, quantizer: str | None) -> Any:
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True
        )
    except ImportError as error:
        # transformers calls the library that quantised the weights only when it loads them.
        named = "" if quantizer is None else f" ({quantizer})"
        raise UnsupportedModelError(
            f"the weights of {source} need a library that is not installed{named}: "
            f"{_first_line(error)}; install it, or choose weights that are not quantised"
        ) from error
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        if quantizer is not None:
            raise UnsupportedModelError(
                f"the weights of {source}, quantised by {quantizer}, cannot be loaded here "
                f"({_first_line(error)}); check that its library serves this device, or choose "
                "weights that are not quantised"
            ) from error
        raise ModelFilesError(
            f"the weights of {source} cannot be loaded ({_first_line(error)}); {_DOWNLOAD_AGAIN}"
        ) from error
    missing = sorted(loading["missing_keys"]) + sorted(map(str, loading["mismatched_keys"]))
    if missing:
        # transformers fills them with random numbers and only warns.
        raise ModelFilesError(
            f"the weights of {source} do not fill the model: {len(missing)} tensors are missing "
            f"or of another shape, {missing[0]} first; {_DOWNLOAD_AGAIN}"
        )
    return model


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"device must be auto, cpu, cuda or cuda:N, got {device}"
        ) from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedModelError(
            f"device {device} was asked for and torch {torch.__version__} sees no CUDA device; "
            "use --device cpu, or install torch with CUDA"
        )
    return target


def _width(config: Any) -> int:
    """Return the numbers in a token's hidden state."""
    return int(config.get_text_config().hidden_size)


def _dtype(dtype: str) -> torch.dtype | str:
    if dtype in ("auto", "fastest"):
        return dtype
    if dtype not in _DTYPES:
        raise UnsupportedModelError(
            f"dtype must be auto, fastest or one of {', '.join(_DTYPES)}, got {dtype}"
        )
    return _DTYPES[dtype]


def _end_tokens(model: Any) -> tuple[int, ...]:
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if found is None:
        found = model.config.get_text_config().eos_token_id
    if found is None:
        return ()
    return tuple(sorted({int(t) for t in (found if isinstance(found, (list, tuple)) else [found])}))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
