"""The domain: jobs, attempts, snapshots, events, checkpoints and what is asked of them.

Every type is frozen, and valid once `wire` or a backend has built it; nothing here does I/O.
The words are those of docs/concepts.md. Times are integer nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
Int64 = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]

AUTO_SEQ = 2**62
"""Sequence numbers from here on are given by the store; a writer's own lie below."""

Kind = Literal["train", "eval"]
Status = Literal[
    "pending",
    "queued",
    "running",
    "compressing",
    "uploading",
    "cancel_requested",
    "cancelled",
    "error",
    "completed",
]
ENDED: frozenset[Status] = frozenset({"cancelled", "error", "completed"})
NOT_STARTED: frozenset[Status] = frozenset({"pending", "queued"})

Cursor = str
"""Where a reader is in a job's arrivals; opaque, made by a backend."""


# ---------------------------------------------------------------- snapshots


class Snapshot(Struct, frozen=True, gc=False):
    """The scalar values logged at one moment.

    Attributes:
        kind: "eval" when any key starts with "eval/", else "train".
        global_step: optimizer steps done, 0 to 2**63 - 1.
        logged_at: nanoseconds since the epoch, UTC, 0 to 2**63 - 1.
        values: metric name to value in the order logged; floats may be NaN or infinite.
    """

    kind: Kind
    global_step: int
    logged_at: int
    values: dict[str, int | float]


class Batch(Struct, frozen=True, kw_only=True):
    """Snapshots of one writer in one attempt, to be stored together or not at all.

    Attributes:
        snapshots: in the order of their sequence numbers.
        attempt: None for the job's newest.
        writer: the rank of the process that logged them.
        first_seq: sequence number of the first snapshot, the i-th has `first_seq + i`;
            None to have the store number them.
    """

    snapshots: Sequence[Snapshot]
    attempt: int | None = None
    writer: int = 0
    first_seq: int | None = None


class Receipt(Struct, frozen=True):
    """What became of a batch that is now on stable storage.

    Attributes:
        stored: snapshots that are new.
        duplicates: snapshots whose (job, attempt, writer, seq) was there already.
        status: the job's status; `cancel_requested` asks the trainer to stop.
    """

    stored: int
    duplicates: int
    status: Status


class SnapshotQuery(Struct, frozen=True, kw_only=True):
    """What a read asks for; see design 2. Filters are inclusive and combined with AND.

    Attributes:
        global_step_from, global_step_to: bounds on the step.
        logged_at_from, logged_at_to: bounds on the time, nanoseconds.
        resolution: the most train snapshots to return; None for all, below 1 for none.
        sampling: "uniform" by ordinal; "minmax" keeps each bucket's lowest and highest values.
        attempt: None for the effective history, "all" for superseded snapshots too, or a number.
        keys: names and globs; a snapshot that has none of them does not match. Empty for all.
        after: only what arrived after this cursor.
        nonfinite: how NaN and infinities are shown: left out and counted, null, or as strings.
    """

    global_step_from: int | None = None
    global_step_to: int | None = None
    logged_at_from: int | None = None
    logged_at_to: int | None = None
    resolution: int | None = None
    sampling: Literal["uniform", "minmax"] = "uniform"
    attempt: int | Literal["all"] | None = None
    keys: tuple[str, ...] = ()
    after: Cursor | None = None
    nonfinite: Literal["omit", "null", "string"] = "omit"


ALL = SnapshotQuery()

ROW_SEPARATOR = b",\n"
"""Stands between two encoded snapshots; a raw newline never stands inside one."""


class Compressed(Struct, frozen=True):
    """Encoded snapshots, as a chunk has them, as one or more zstd frames (RFC 8878)."""

    data: bytes


class Reading(Struct, frozen=True):
    """The answer to a read. One of `chunks` and `pieces` can be consumed, once.

    Attributes:
        matched: snapshots that the filters let through, train and eval together.
        returned: snapshots that `chunks` holds.
        cursor: everything up to here has been seen; to be given as `after`.
        chunks: encoded snapshots in order, `ROW_SEPARATOR` between two of one chunk.
        pieces: the same, compressed where the store keeps them so; None if it nowhere does.
    """

    matched: int
    returned: int
    cursor: Cursor
    chunks: Iterator[bytes]
    pieces: Iterator[bytes | Compressed] | None = None


class Column(Struct, frozen=True):
    """One metric of a job and the kinds of numbers seen in it.

    Attributes:
        name: the metric's name.
        has_float: a float was logged under it.
        has_int: an integer was logged under it.
        has_big_int: an integer beyond ±2**53 was, which a double cannot hold.
    """

    name: str
    has_float: bool
    has_int: bool
    has_big_int: bool


class Point(Struct, frozen=True):
    """One value of a series and where it stands."""

    value: int | float
    global_step: int


class MetricSummary(Struct, frozen=True, kw_only=True):
    """What a series amounts to. `first`, `last`, `min`, `max` look at finite values only.

    Attributes:
        count: values logged, non-finite ones too.
        first, last: in chronological order.
        min, max: of several equal ones, the first.
        nonfinite: how many values are NaN or infinite.
        first_nonfinite_step: the step of the first of these in chronological order.
    """

    count: int = 0
    first: Point | None = None
    last: Point | None = None
    min: Point | None = None
    max: Point | None = None
    nonfinite: int = 0
    first_nonfinite_step: int | None = None


class Summary(Struct, frozen=True):
    """Counts and extremes of a job's matching snapshots.

    Attributes:
        snapshots: how many of each kind.
        metrics: by name, in the order first logged.
    """

    snapshots: Mapping[Kind, int]
    metrics: Mapping[str, MetricSummary]


class SnapshotArrived(Struct, frozen=True):
    """A snapshot, encoded, in a job's arrivals."""

    cursor: Cursor
    line: bytes


class Superseded(Struct, frozen=True):
    """From here on, earlier attempts' snapshots with steps ≥ `from_step` do not count."""

    cursor: Cursor
    attempt: int
    from_step: int


class StatusChanged(Struct, frozen=True):
    """The job's status became `status`."""

    cursor: Cursor
    status: Status


Change = SnapshotArrived | Superseded | StatusChanged


class Changes(Struct, frozen=True):
    """Some of a job's arrivals, oldest first.

    Attributes:
        items: the changes; those that the query's filters leave out are not among them.
        cursor: go on from here.
        more: there is more to be had at once.
    """

    items: Sequence[Change]
    cursor: Cursor
    more: bool


# ---------------------------------------------------------------- the catalog


class Attempt(Struct, frozen=True, kw_only=True):
    """One run of a job's training process.

    Attributes:
        attempt: its number, from 1.
        from_step: the first step that it was said to log, if one was said.
        first_step: the lower of `from_step` and the lowest step among its train snapshots;
            None while neither is known. Earlier attempts are superseded from here on.
        opened_at: nanoseconds; None for an attempt 1 that was never opened.
        open_id: the caller's own name for the opening, if it gave one.
    """

    attempt: int
    from_step: int | None = None
    first_step: int | None = None
    opened_at: int | None = None
    open_id: str | None = None


Level = Literal["info", "warning", "error"]


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened to a job, in words.

    Attributes:
        type: lower case, `checkpoint_save`; the published clients know those of `openapi.yaml`.
        message: what happened.
        level: how bad it is.
        created_at: nanoseconds.
        step: the global_step that it belongs to, 0 if none.
        id: the caller's own name for it; a second event of one id is not stored.
        details: what else Together's schema lets an event carry (`checkpoint_path` …).
    """

    type: str
    message: str
    created_at: int
    level: Level | None = "info"
    step: int = 0
    id: str | None = None
    details: Mapping[str, str | int | float | None] = {}


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A saved state of the model.

    Attributes:
        step: the global_step it was saved at.
        path: where it lies, as the trainer names it.
        checkpoint_type: a label; "Intermediate" and "Final" are Together's.
        created_at: nanoseconds.
        checkpoint: whether the whole model or only an adapter was saved.
        id: the caller's own name for it; a second checkpoint of one id is not stored.
    """

    step: int
    path: str
    created_at: int
    checkpoint_type: str = "Intermediate"
    checkpoint: Literal["model", "adapter"] | None = None
    id: str | None = None


class LrScheduler(Struct, frozen=True):
    """How the learning rate moves, as in Together's schema."""

    lr_scheduler_type: Literal["linear", "cosine"]
    lr_scheduler_args: dict[str, float] | None = None


class FullTraining(Struct, frozen=True, tag_field="type", tag="Full"):
    """Every weight is trained."""


class LoraTraining(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="Lora"
):
    """An adapter of low rank is trained."""

    lora_r: Int64
    lora_alpha: Int64
    lora_dropout: float | None = None
    lora_trainable_modules: str | None = None


class SupervisedTraining(Struct, frozen=True, tag_field="method", tag="sft"):
    """Supervised fine-tuning."""

    train_on_inputs: bool | Literal["auto"] = "auto"


class PreferenceTraining(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="method", tag="dpo"
):
    """Direct preference optimisation."""

    dpo_beta: float | None = None
    dpo_normalize_logratios_by_length: bool | None = None
    dpo_reference_free: bool | None = None
    rpo_alpha: float | None = None
    simpo_gamma: float | None = None


class JobDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job's owner says of it: Together's fields, and `name`, `tags`, `hyperparameters`."""

    model: str | None = None
    suffix: str | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None
    hyperparameters: dict[str, str | Int64 | float | bool | None] | None = None
    training_file: str | None = None
    validation_file: str | None = None
    n_epochs: Int64 | None = None
    n_checkpoints: Int64 | None = None
    n_evals: Int64 | None = None
    eval_steps: Int64 | None = None
    batch_size: Int64 | Literal["max"] | None = None
    learning_rate: float | None = None
    lr_scheduler: LrScheduler | None = None
    warmup_ratio: float | None = None
    max_grad_norm: float | None = None
    weight_decay: float | None = None
    max_seq_length: Int64 | None = None
    packing: bool | None = None
    random_seed: Int64 | None = None
    training_method: SupervisedTraining | PreferenceTraining | None = None
    training_type: FullTraining | LoraTraining | None = None
    train_on_inputs: bool | Literal["auto"] | None = None
    from_checkpoint: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    trainingfile_numlines: Int64 | None = None
    trainingfile_size: Int64 | None = None
    token_count: Int64 | None = None
    param_count: Int64 | None = None
    total_steps: Int64 | None = None
    total_price: Int64 | None = None
    epochs_completed: Int64 | None = None
    queue_depth: Int64 | None = None
    model_output_name: str | None = None
    model_output_path: str | None = None
    early_stopped: bool | None = None
    early_stopping_best_step: Int64 | None = None
    early_stopping_best_metric: float | None = None
    wandb_url: str | None = None
    wandb_name: str | None = None
    wandb_entity: str | None = None
    wandb_project_name: str | None = None


class JobQuery(Struct, frozen=True, kw_only=True):
    """Which jobs of a project to list. Conditions are combined with AND.

    Attributes:
        name: of exactly this name.
        search: with these characters somewhere in the id, name, model, suffix or a tag, in upper or
            lower case alike.
        statuses: in one of these; empty for any.
        offset: leave out so many of the newest.
        limit: then at most so many; None for all.
    """

    name: str | None = None
    search: str | None = None
    statuses: frozenset[Status] = frozenset()
    offset: int = 0
    limit: int | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job is one of those."""
        details = job.details
        words = (details.name, details.model, details.suffix, *(details.tags or ()))
        return (
            self.name in (None, details.name)
            and (not self.statuses or job.status in self.statuses)
            and (self.search is None or is_found(self.search.casefold(), job.id, words))
        )

    def page(self, matching: Sequence[Job]) -> FoundJobs:
        """The answer, of all jobs that match, newest first."""
        end = None if self.limit is None else self.offset + self.limit
        return FoundJobs(len(matching), matching[self.offset : end])


def is_found(needle: str, job_id: str, words: Iterable[str | None]) -> bool:
    """Whether a search for `needle`, which is casefolded, finds a job by its id or these words."""
    return needle in job_id.casefold() or any(word and needle in word.casefold() for word in words)


class FoundJobs(Struct, frozen=True):
    """The answer to a `JobQuery`.

    Attributes:
        matched: how many jobs match, on every page together.
        jobs: those of this page, newest first.
    """

    matched: int
    jobs: Sequence[Job]


class JobChanges(Struct, frozen=True, kw_only=True):
    """A partial update of a job.

    Attributes:
        status: the new status, if it changes.
        seconds_remaining: what truly remains until the job's end; None if that is unknown.
        details: names of `JobDetails` fields to new values; None clears one, and
            `hyperparameters` are merged by name.
    """

    status: Status | UnsetType = UNSET
    seconds_remaining: int | UnsetType | None = UNSET
    details: Mapping[str, Any] = {}


class Job(Struct, frozen=True, kw_only=True):
    """One fine-tuning job.

    Attributes:
        id: `ft-…`, unique in its project.
        status: where it stands.
        created_at, updated_at: nanoseconds.
        started_at: when its first snapshot or its `running` came.
        heard_at: the last word from its writers.
        ends_at: when it is expected to end.
        silent: it was ended because its writers fell silent; data makes it run again.
        details: what its owner says of it.
    """

    id: str
    status: Status
    created_at: int
    updated_at: int
    heard_at: int
    started_at: int | None = None
    ends_at: int | None = None
    silent: bool = False
    details: JobDetails = msgspec.field(default_factory=JobDetails)

    @property
    def ended(self) -> bool:
        """Whether the status is a last one: cancelled, error or completed."""
        return self.status in ENDED

    def cursor(self, arrival: int) -> str:
        """What a reader is given to come back with, who has seen the job's changes up to this one.

        It counts on from the microseconds of the job's creation. So a cursor of a deleted job lies
        before every arrival of one that is made under its id again, and whoever comes back with it
        misses nothing. (No job has a million changes a second for all its life, and 2**53, up to
        which JavaScript counts exactly, is two centuries away.)
        """
        return str(self.created_at // 1_000 + arrival)

    def arrival(self, cursor: str | None) -> int:
        """The arrival that a cursor stands for; 0, before the first, for none or an older job's."""
        return 0 if cursor is None else max(0, int(cursor) - self.created_at // 1_000)
