"""What a trainer may say of its job, and where the job's id comes from and is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunelog.ids import new_id
from tunelog.recorder.losses import say
from tunelog.recorder.records import clean, flat, plain

JOB_FILE = "tunelog.json"
"""In a training's output directory: which job the training is."""

_FIELDS = """
    model suffix name tags hyperparameters training_file validation_file n_epochs n_checkpoints
    n_evals eval_steps batch_size learning_rate lr_scheduler warmup_ratio max_grad_norm weight_decay
    max_seq_length packing random_seed training_method training_type train_on_inputs
    from_checkpoint from_hf_model hf_model_revision trainingfile_numlines trainingfile_size
    token_count param_count total_steps total_price epochs_completed queue_depth model_output_name
    model_output_path early_stopped early_stopping_best_step early_stopping_best_metric wandb_url
    wandb_name wandb_entity wandb_project_name
"""
DETAILS = frozenset(_FIELDS.split())
"""The fields of `model.JobDetails`, which the recorder does not import: a test holds them equal."""

RESUME = ("auto", "must", "never")

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")


def is_job_id(given: object) -> bool:
    """Whether the service would take this for a job's id."""
    return (
        isinstance(given, str)
        and given.startswith("ft-")
        and 4 <= len(given) <= 128
        and given[3] not in "._:-"
        and _ID_CHARACTERS.issuperset(given)
    )


def check_names(fields: Mapping[str, object]) -> None:
    """Raises `TypeError` for a name that is no field of a job, with the one that may be meant."""
    for name in fields:
        if name not in DETAILS:
            from difflib import get_close_matches

            near = get_close_matches(name, DETAILS, 1)
            meant = f"did you mean {near[0]}? If not, put" if near else "put"
            raise TypeError(f"a job has no field {name!r}: {meant} it into hyperparameters={{…}}")


def details(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job's details as JSON can say them. Whether each fits its field, the service decides."""
    said: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "hyperparameters" and isinstance(value, Mapping):
            said[name] = flat(value)
        elif name == "tags" and value is not None:
            said[name] = [clean(tag) for tag in ([value] if isinstance(value, str) else value)]
        else:
            said[name] = plain(value)
    return said


class Identity(NamedTuple):
    """Which job a training is.

    Attributes:
        job_id: the job to enter, or to make if there is none of this id.
        fallback_id: the job to make instead when that one must not be entered again.
        resume: "auto" enters any job but a completed one, "must" that job and no other, "never"
            only one that nobody has trained.
        known: whether the job's id was given or found, and not made here.
        by_name: whether to enter the newest job of this one's name instead, if there is one.
    """

    job_id: str
    fallback_id: str
    resume: str
    known: bool = True
    by_name: bool = False


def find_identity(
    job_id: str | None, resume: str, output_dir: str | None, name: str | None = None
) -> Identity:
    """The id from the call, TUNELOG_JOB_ID or the output directory's tunelog.json; else a new one.

    If `resume` is "must", a name will do in place of an id: the service knows whose it is. Raises
    `ValueError` if the call's id cannot be one, or there is neither and `resume` is "must".
    """
    if resume not in RESUME:
        raise ValueError(f"resume={resume!r}: one of {', '.join(RESUME)} is wanted")
    fallback = new_id("ft-")
    if job_id is not None:
        if not is_job_id(job_id):
            raise ValueError(
                f"job_id={job_id!r}: ft- and then letters, digits and . _ : - are wanted, "
                "128 characters at most"
            )
        return Identity(job_id, fallback, resume)
    known = None if resume == "never" else _known_id(output_dir, resume)
    if known is not None:
        return Identity(known, fallback, resume)
    if resume == "must" and not name:
        raise ValueError(
            "resume='must', but neither job_id nor name was given, TUNELOG_JOB_ID is not set, "
            f"and {output_dir or 'no output_dir'} has no {JOB_FILE}"
        )
    return Identity(new_id("ft-"), fallback, resume, known=False, by_name=resume == "must")


def _known_id(output_dir: str | None, resume: str) -> str | None:
    from_environment = os.environ.get("TUNELOG_JOB_ID")
    if from_environment:
        if is_job_id(from_environment):
            return from_environment
        say(f"TUNELOG_JOB_ID={from_environment!r} is no job id (ft-…); it is ignored")
    if output_dir is None:
        return None
    entry = read_job_file(output_dir)
    if entry.get("status") == "completed" and resume == "auto":
        return None
    found = entry.get("job_id")
    return found if isinstance(found, str) and is_job_id(found) else None


def read_job_file(output_dir: str) -> dict[str, Any]:
    """What tunelog.json says, nothing if there is none or it cannot be read."""
    path = os.path.join(output_dir, JOB_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            entry = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        say(f"{path} cannot be read and is ignored: {error}")
        return {}
    return entry if isinstance(entry, dict) else {}


def write_job_file(output_dir: str, job_id: str, status: str | None = None) -> None:
    """Have the next training in this directory find the job; says it if that cannot be done."""
    path = os.path.join(output_dir, JOB_FILE)
    entry = {"job_id": job_id, **({"status": status} if status else {})}
    unnamed = f"{path}.{os.getpid()}"
    try:
        os.makedirs(output_dir, exist_ok=True)
        with open(unnamed, "w", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        os.replace(unnamed, path)
    except OSError as error:
        say(f"{path} could not be written, so a restart will not find {job_id}: {error}")
