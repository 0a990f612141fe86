"""The processes of a distributed training: which of them record, and what those share.

With `writers="all"` each process has a spool and a sender of its own, yet all write into one
attempt of one job. So they have to agree, before any of them has heard from the service, on the
job's id and on the name under which the attempt is opened. Rank 0 chooses, and tells the others
through `torch.distributed` where that is set up. Where it is not, and all run on one machine, each
derives the same names from what only they have in common: the launcher that started them.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from tunelog.ids import id_of
from tunelog.recorder.details import Identity
from tunelog.recorder.losses import say

_RANK = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_INITS = itertools.count()


class Shared(NamedTuple):
    """What the writers of one attempt have in common.

    Attributes:
        identity: the job.
        open_id: the name under which the attempt is opened: whoever is first opens it.
    """

    identity: Identity
    open_id: str


def rank() -> int:
    """This process's number in a distributed training, 0 outside of one.

    torchrun and its like set RANK, mpirun a variable of its own, and srun SLURM_PROCID, which
    counts only among several tasks: a batch script has it, too.
    """
    names = list(_RANK)
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        names.append("SLURM_PROCID")
    for name in names:
        if name in os.environ:
            return max(0, _number(name, 0))
    return 0


def share(
    identity: Identity, token: str, own_rank: int, open_id: Callable[[str], str]
) -> Shared | None:
    """What all writers of this attempt use, given what this process alone would.

    `open_id` makes of what is unique to the attempt the name that it is opened under. Every rank
    has to call this. None if they cannot agree, which is said.
    """
    number = next(_INITS)
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        told: list[Shared | None] = [Shared(identity, open_id(token)) if own_rank == 0 else None]
        try:
            distributed.broadcast_object_list(told, src=0)
        except Exception as error:
            say(f"rank {own_rank} records nothing: {type(error).__name__}: {error}")
            return None
        return told[0]
    if _number("WORLD_SIZE", 1) <= 1:
        return Shared(identity, open_id(token))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        derived = _derived(identity, number)
        return derived._replace(open_id=open_id(derived.open_id))
    if own_rank:
        say(f"rank {own_rank} records nothing: call init() after init_process_group()")
        return None
    return Shared(identity, open_id(token))


def _derived(identity: Identity, number: int) -> Shared:
    """The same for every child of one launcher, its number-th `init`, and for nobody else."""
    import hashlib  # a millisecond, which other trainings need not spend

    launcher = os.getppid()
    own = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")
    parts = [_boot(), _started(launcher), str(launcher), *(os.environ.get(n, "") for n in own)]
    whole = "\0".join([*parts, str(number)])

    def made(purpose: str) -> str:
        return hashlib.sha256(f"{purpose}\0{whole}".encode()).hexdigest()[:32]

    job_id = identity.job_id if identity.known else id_of("ft-", made("job"))
    fallback_id = id_of("ft-", made("fallback"))
    return Shared(identity._replace(job_id=job_id, fallback_id=fallback_id), made("attempt"))


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; a pid alone is used again."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _number(name: str, otherwise: int) -> int:
    try:
        return int(os.environ.get(name, otherwise))
    except ValueError:
        return otherwise
