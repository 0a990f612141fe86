"""Beginning to record: which job, which spool, which service, and whether this process is to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tunelog.ids import new_token
from tunelog.recorder import current
from tunelog.recorder.details import (
    Identity,
    check_names,
    details,
    find_identity,
    write_job_file,
)
from tunelog.recorder.handover import Runner, find_runner
from tunelog.recorder.job import Recorder
from tunelog.recorder.losses import say
from tunelog.recorder.outbox import Outbox
from tunelog.recorder.ranks import Shared, rank, share
from tunelog.recorder.records import attempt_record, framed_record
from tunelog.recorder.values import Unfit, whole

DEFAULT_URL = "http://127.0.0.1:8765"


def init(
    model: str,
    *,
    name: str | None = None,
    job_id: str | None = None,
    resume: Literal["auto", "must", "never"] = "auto",
    from_step: int | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
    url: str | None = None,
    api_key: str | None = None,
    spool: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    writers: Literal["rank0", "all"] = "rank0",
    offline: bool | None = None,
    strict: bool = False,
    **fields: Any,
) -> Recorder:
    """Begin to record a training: a new job, or the next attempt of one that is known.

    Needs no service: the job gets its id here, and the sender, a process of its own, registers it.

    Args:
        model: the base model's name.
        name: a name for people.
        job_id: the job to enter or make; if not given, TUNELOG_JOB_ID, then the `tunelog.json` in
            `output_dir`, else a new one.
        resume: "auto" enters that job, unless it has completed: then a new one begins (which the
            service may have to say: see `Recorder.id`). "must" enters it in any case; if no id is
            found, the newest job of this name. "never" begins a new job, under `job_id` if that
            is given and nobody has trained it yet.
        from_step: the first step that will be logged again, the checkpoint's step + 1; from there
            on earlier attempts are superseded. The lowest step logged does the same.
        hyperparameters: names and values; nested ones are flattened.
        tags: words to find the job by.
        url, api_key: the service and the key; TUNELOG_URL and TUNELOG_API_KEY if not given. Neither
            is written to a file.
        spool: the directory of the spools; TUNELOG_SPOOL if not given, or `tunelog/spool` in the
            user's state directory.
        output_dir: where the training saves its checkpoints; `tunelog.json` is kept there.
        writers: "rank0": of the processes of a distributed training (RANK in the environment) the
            first records and the others do nothing. "all": each records, into one attempt of one
            job; every one of them has to call `init`, after `init_process_group()` if there are
            several machines. Rank 1's `train/loss` is the metric `train/loss/rank1`, and so on;
            rank 0's names stay as they are, and it alone says that the job has completed.
        offline: start no sender; `tunelog sync` sends the spool. TUNELOG_OFFLINE=1 if not given.
        strict: have the recorder raise what it would otherwise count; for tests.
        fields: other fields of a job: `n_epochs`, `learning_rate`, `training_file`, `total_steps` …

    Raises `TypeError` or `ValueError` for a call that is wrong in itself. Whatever else is wrong,
    the disk, the environment or the service, is said on stderr, and the training goes on.
    """
    if not isinstance(model, str) or not model:
        raise TypeError("model: the name of the base model is wanted, a string")
    check_names(fields)
    if writers not in ("rank0", "all"):
        raise ValueError(f"writers={writers!r}: 'rank0' or 'all' is wanted")
    folder = None if output_dir is None else os.fspath(output_dir)
    identity = find_identity(job_id, resume, folder, name)
    first_step = _from_step(from_step)
    address = (url or os.environ.get("TUNELOG_URL") or DEFAULT_URL).rstrip("/")
    writer, token = rank(), new_token()
    runner = find_runner(identity.job_id)
    shared = _shared(writers, identity, token, writer, runner)
    if shared is None:
        if not job_id and not os.environ.get("TUNELOG_JOB_ID"):
            identity = identity._replace(job_id="")
        recorder = Recorder(identity, "", None, url=address, output_dir=None, inactive=True)
    else:
        identity = shared.identity
        sender = None if _is_offline(offline) else _sender_environment(address, api_key)
        outbox = _open_outbox(spool_folder(spool), identity, token, sender)
        given = {"name": name, "hyperparameters": hyperparameters, "tags": tags, **fields}
        if writer != 0:
            folder = None
        recorder = Recorder(
            *(identity, token, outbox),
            url=address,
            output_dir=folder,
            writer=writer,
            open_id=shared.open_id,
            runner=runner,
            strict=strict,
        )
        if outbox is not None:
            said = _said({"model": model, **given})
            attempt = attempt_record(shared.open_id, first_step, writer)
            _begin(outbox, _job(identity, said), attempt)
            if runner is not None and runner.claimed and writer == 0:
                recorder.update(**runner.corrections(said))
            if folder is not None:
                write_job_file(folder, identity.job_id)
    current.use(recorder)
    return recorder


def _shared(
    writers: str, identity: Identity, token: str, writer: int, runner: Runner | None
) -> Shared | None:
    """The job and the attempt that this process writes into; None if it does not."""
    if writers != "all" and writer != 0:
        return None
    if runner is not None and runner.lives():
        identity = identity._replace(resume="must")  # whatever became of it: `run` is in it
    open_id = str if runner is None else runner.open_id
    if writers == "all":
        return share(identity, token, writer, open_id)
    return Shared(identity, open_id(token))


def _open_outbox(
    folder: str, identity: Identity, token: str, environment: Mapping[str, str] | None
) -> Outbox | None:
    try:
        return Outbox(folder, identity.job_id, token, environment)
    except OSError as error:
        say(f"nothing will be recorded: {folder}: {error}. Another place: spool=, TUNELOG_SPOOL")
        return None


def _job(identity: Identity, given: Mapping[str, Any]) -> bytes:
    fields = {
        "id": identity.job_id,
        "fallback_id": identity.fallback_id,
        "resume": identity.resume,
        "by_name": identity.by_name,
        "details": details(given),
        "at": time.time_ns(),
    }
    return framed_record("job", fields)


def _begin(outbox: Outbox, job: bytes, attempt: bytes) -> None:
    """Write what every spool begins with, and start the sender."""
    try:
        outbox.put(job)
        outbox.put(attempt)
    except OSError as error:
        say(f"{outbox.path}: {error}")
    outbox.look_after()


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _from_step(from_step: int | None) -> int | None:
    try:
        return None if from_step is None else whole(from_step, "from_step")
    except Unfit as error:
        raise ValueError(error.message) from None


def _sender_environment(url: str, api_key: str | None) -> dict[str, str] | None:
    """What a sender is told beside the environment that it inherits; None if none is of use."""
    api_key = api_key or os.environ.get("TUNELOG_API_KEY")
    if not api_key:
        say("no API key was given (TUNELOG_API_KEY), so all is only kept in the spool")
        return None
    return {"TUNELOG_URL": url, "TUNELOG_API_KEY": api_key}


def _is_offline(offline: bool | None) -> bool:
    if offline is None:
        return os.environ.get("TUNELOG_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return offline


def spool_folder(spool: str | os.PathLike[str] | None) -> str:
    """Where spools lie: the directory given, TUNELOG_SPOOL, or the user's state directory."""
    if spool is not None:
        return os.fspath(spool)
    from_environment = os.environ.get("TUNELOG_SPOOL")
    if from_environment:
        return from_environment
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "tunelog", "spool")
