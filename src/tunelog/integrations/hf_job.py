"""What a Hugging Face training says of its job: fields that Together's schema has, and the rest as
hyperparameters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from transformers.trainer_pt_utils import get_model_param_count

ALWAYS = frozenset(
    {
        *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"),
        *("max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay"),
        *("optim", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "seed", "bf16"),
        *("fp16", "gradient_checkpointing", "logging_steps", "logging_nan_inf_filter"),
        *("eval_strategy", "save_strategy", "max_length", "packing", "beta", "loss_type"),
    }
)
"""Arguments that are hyperparameters whatever they are; others only if they are not the default."""

_NEVER = re.compile(
    r"""output_dir|run_name|project|report_to|disable_tqdm|local_rank|_n_gpu|accelerator_config
    |do_train|do_eval|do_predict|log_level.*|logging_dir|hub_.*|push_to_hub.*|trackio_.*
    |(.*_)?(token|key|secret|password|credential)s?""",
    re.VERBOSE,
)
"""Arguments that say nothing of the training, or that nobody else may see."""

_CONFIG = (
    *("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "intermediate_size", "vocab_size", "max_position_embeddings"),
)
_ENDLESS = 1_000_000
"""Epochs, and above: what Trainer says where the data has no length."""


def model_name(model: Any) -> str:
    """The base model's name, or its kind where it has none, such as one made from a config."""
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", None) or getattr(config, "model_type", None)
    return name if isinstance(name, str) and name else type(model).__name__


def job_fields(args: Any, state: Any, model: Any, trainer: Any) -> dict[str, Any]:
    """The job's fields and its hyperparameters. What cannot be found out is left out."""
    fields: dict[str, Any] = {"hyperparameters": {}}
    parts = (
        lambda: _of_schedule(args, state),
        lambda: _of_size(args, state, model),
        lambda: _of_method(args, trainer),
        lambda: _of_type(model),
        lambda: {"hyperparameters": hyperparameters(args, model)},
    )
    for part in parts:
        with contextlib.suppress(Exception):  # another version's arguments: better less than none
            fields.update(part())
    fields["hyperparameters"].update(_counts(model, trainer))
    return {name: value for name, value in fields.items() if value is not None}


def _of_schedule(args: Any, state: Any) -> dict[str, Any]:
    scheduler = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    epochs = state.num_train_epochs if state.num_train_epochs < _ENDLESS else None
    return {
        "total_steps": state.max_steps,
        "n_epochs": epochs,
        "learning_rate": args.learning_rate,
        "lr_scheduler": {"lr_scheduler_type": scheduler} if scheduler in _SCHEDULERS else None,
        "warmup_ratio": args.get_warmup_steps(state.max_steps) / max(state.max_steps, 1),
        "max_grad_norm": args.max_grad_norm,
        "weight_decay": args.weight_decay,
        "random_seed": args.seed,
        "eval_steps": int(state.eval_steps) if _strategy(args, "eval") == "steps" else None,
        "n_evals": _times(_strategy(args, "eval"), state.eval_steps, state.max_steps, epochs),
        "n_checkpoints": _times(_strategy(args, "save"), state.save_steps, state.max_steps, epochs),
    }


_SCHEDULERS = ("linear", "cosine")
"""Those that Together's schema knows; any is among the hyperparameters."""


def _strategy(args: Any, what: str) -> str:
    strategy = getattr(args, f"{what}_strategy")
    return str(getattr(strategy, "value", strategy))


def _times(strategy: str, every: float, steps: int, epochs: int | None) -> int | None:
    """How often something is done in the whole training; the last step counts as a time."""
    if strategy == "steps" and every and every > 0:
        return math.ceil(steps / every)
    return epochs if strategy == "epoch" else None


def _of_size(args: Any, state: Any, model: Any) -> dict[str, Any]:
    batch = state.train_batch_size or args.train_batch_size
    is_whole = not getattr(args, "fsdp", None)  # each process has a part of the model there
    return {
        "batch_size": batch * args.gradient_accumulation_steps * args.world_size,
        "max_seq_length": getattr(args, "max_length", None),
        "packing": getattr(args, "packing", None),
        "param_count": get_model_param_count(model) if is_whole else None,
    }


def _of_method(args: Any, trainer: Any) -> dict[str, Any]:
    """The method, where the Trainer is one of TRL's whose method Together's schema knows."""
    kinds = {kind.__name__ for kind in type(trainer).__mro__}
    if "DPOTrainer" in kinds:
        return {"training_method": {"method": "dpo", "dpo_beta": args.beta}}
    if "SFTTrainer" in kinds:
        on_less = args.assistant_only_loss or args.completion_only_loss
        on_all = args.completion_only_loss is False and not args.assistant_only_loss
        on_inputs = False if on_less else True if on_all else "auto"
        return {"training_method": {"method": "sft", "train_on_inputs": on_inputs}}
    return {}


def _of_type(model: Any) -> dict[str, Any]:
    """Whether an adapter or every weight is trained; nothing where it is neither."""
    adapters = getattr(model, "peft_config", None)
    if not adapters:
        all_are = all(parameter.requires_grad for parameter in model.parameters())
        return {"training_type": {"type": "Full"} if all_are else None}
    config = next(iter(adapters.values())) if isinstance(adapters, Mapping) else adapters
    if not hasattr(config, "lora_alpha"):
        return {}
    targets = config.target_modules
    modules = targets if isinstance(targets, str) else ",".join(sorted(targets or ()))
    return {
        "training_type": {
            "type": "Lora",
            "lora_r": config.r,
            "lora_alpha": int(config.lora_alpha),
            "lora_dropout": config.lora_dropout,
            "lora_trainable_modules": modules or None,
        }
    }


def hyperparameters(args: Any, model: Any) -> dict[str, Any]:
    """The arguments that were chosen, and those that everyone asks for; the model's shape."""
    chosen = dict(_chosen(args))
    config = getattr(model, "config", None)
    shape = {name: getattr(config, name, None) for name in _CONFIG}
    said = {name: value for name, value in shape.items() if isinstance(value, (int, str))}
    return {**chosen, "world_size": args.world_size, **{f"model.{k}": v for k, v in said.items()}}


def _chosen(args: Any) -> Iterator[tuple[str, Any]]:
    values = args.to_dict()
    for field in dataclasses.fields(args):
        name = field.name
        if name not in values or values[name] is None or _NEVER.fullmatch(name):
            continue
        if name in ALWAYS or not _is_default(field, values[name]):
            yield name, values[name]


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    default = getattr(default, "value", default)
    return bool(value == default) or (not value and not default)


def _counts(model: Any, trainer: Any) -> dict[str, Any]:
    counts = {}
    with contextlib.suppress(Exception):
        counts["trainable_parameters"] = get_model_param_count(model, trainable_only=True)
    with contextlib.suppress(Exception):  # a stream has no length
        counts["train_examples"] = len(trainer.train_dataset)
    return counts
