"""Tiny trainings with Hugging Face's Trainer; prints what came of each that is named."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tunelog.integrations.transformers import TunelogCallback

VOCABULARY = 32


def model() -> Any:
    torch.manual_seed(0)
    size = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=1, **size)
    )


def examples(count: int) -> list[dict[str, Any]]:
    made = torch.Generator().manual_seed(1)
    texts = torch.randint(0, VOCABULARY, (count, 8), generator=made)
    return [{"input_ids": text, "labels": text} for text in texts]


class Poisoned(Trainer):
    """Gives a loss of NaN to one batch, whose gradients stay good."""

    at = -1
    error: BaseException | None = None
    on_rank = 0
    calls = 0

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not model.training:
            return loss
        self.calls += 1
        if self.calls != self.at or self.args.process_index != self.on_rank:
            return loss
        if self.error is not None:
            raise self.error
        return loss + float("nan")


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            control.should_training_stop = True


class DieAt(StopAt):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os._exit(9)


def trainer(folder: str, *callbacks: Any, kind: Any = Poisoned, **arguments: Any) -> Any:
    given = {
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "hub_token": "hf_secret",
        **arguments,
    }
    return kind(
        model=model(),
        args=TrainingArguments(folder, **given),
        train_dataset=examples(8),
        eval_dataset=examples(4),
        callbacks=[*callbacks],
    )


def result(trained: Any, callback: Any, **more: Any) -> dict[str, Any]:
    history = [
        {name: str(value) if value != value else value for name, value in row.items()}
        for row in trained.state.log_history
    ]
    clean = not {"training_step", "_run_epoch", "_evaluate"} & vars(trained).keys()
    return {"job": callback.recorder.id, "history": history, "clean": clean, **more}


# ---------------------------------------------------------------- trainings


def whole() -> dict[str, Any]:
    """Evaluated before, while and after training, saved, tokens counted."""
    callback = TunelogCallback(name="whole", tags=["tiny"], hyperparameters={"note": 1})
    trained = trainer(
        "whole",
        callback,
        max_steps=-1,
        num_train_epochs=2,
        eval_strategy="steps",
        eval_steps=4,
        save_strategy="steps",
        save_steps=4,
        include_num_input_tokens_seen="all",
        warmup_steps=2,
    )
    trained.evaluate()
    trained.train()
    trained.evaluate(metric_key_prefix="eval_other")
    trained.predict(examples(4))
    return result(trained, callback)


def filtered() -> dict[str, Any]:
    """A bad batch in step 3, with accumulated gradients and the filter as it is by default."""
    callback = TunelogCallback()
    trained = trainer(
        "filtered", gradient_accumulation_steps=2, max_steps=6, logging_steps=2, kind=Poisoned
    )
    trained.add_callback(callback)
    trained.at = 5
    trained.train()
    return result(trained, callback)


def unfiltered() -> dict[str, Any]:
    """The same with the filter off; and the same batches without a bad one."""
    histories = []
    for at in (5, -1):
        callback = TunelogCallback()
        trained = trainer(
            f"unfiltered{at}",
            callback,
            gradient_accumulation_steps=2,
            max_steps=8,
            logging_steps=2,
            logging_nan_inf_filter=False,
        )
        trained.at = at
        trained.train()
        histories.append(result(trained, callback))
    return {**histories[0], "healthy": histories[1]}


def failing() -> dict[str, Any]:
    """Errors that the script catches, in the trainer's step and in another callback."""
    ended = []
    for number, error in enumerate((ValueError("bad batch"), KeyboardInterrupt(), SystemExit(3))):
        callback = TunelogCallback()
        trained = trainer(f"failing{number}", callback)
        trained.at, trained.error = 3, error
        with contextlib.suppress(ValueError, KeyboardInterrupt, SystemExit):
            trained.train()
        trained.evaluate()
        ended.append(result(trained, callback))

    class Bad(TrainerCallback):
        def on_log(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("bad callback")

    callback = TunelogCallback()
    trained = trainer("failing", callback, Bad())
    with contextlib.suppress(RuntimeError):
        trained.train()
    return {"ended": [*ended, result(trained, callback)]}


def early() -> dict[str, Any]:
    """Stopped by patience that ran out."""
    callback = TunelogCallback()
    trained = trainer(
        "early",
        callback,
        EarlyStoppingCallback(early_stopping_patience=2, early_stopping_threshold=100.0),
        max_steps=50,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    trained.train()
    return result(trained, callback)


def again() -> dict[str, Any]:
    """One trainer that trains twice, and another in the same process."""
    callback = TunelogCallback()
    trained = trainer("again", callback, max_steps=2)
    trained.train()
    first = result(trained, callback)
    trained.train()
    other = TunelogCallback()
    beside = trainer("beside", other, max_steps=2)
    beside.train()
    trained.evaluate()
    return {"first": first, "second": result(trained, callback), "other": result(beside, other)}


def stopped() -> dict[str, Any]:
    """Stopped by a callback of the user's at step 3, then resumed; then begun from scratch."""
    jobs = []
    for resume, callbacks in ((None, [StopAt(3)]), (True, []), (None, [])):
        callback = TunelogCallback()
        saving = {"save_strategy": "steps", "save_steps": 2}
        trained = trainer("stopped", callback, *callbacks, max_steps=5, **saving)
        trained.train(resume_from_checkpoint=resume)
        jobs.append(callback.recorder.id)  # type: ignore[union-attr]
    return {"jobs": jobs}


def crash() -> dict[str, Any]:
    """Dies at step 5."""
    trained = trainer(
        "crash", TunelogCallback(), DieAt(5), max_steps=8, save_strategy="steps", save_steps=2
    )
    return {"never": trained.train()}


def resume() -> dict[str, Any]:
    """Goes on where `crash` died."""
    callback = TunelogCallback()
    trained = trainer("crash", callback, max_steps=8)
    trained.train(resume_from_checkpoint=True)
    return result(trained, callback)


def fails_at(step: int, folder: str, **arguments: Any) -> Any:
    trained = trainer(folder, TunelogCallback(), save_strategy="steps", save_steps=2, **arguments)
    trained.at, trained.error = step, ValueError("bad batch")
    return trained


def retried() -> dict[str, Any]:
    """Fails; is begun from scratch and fails again; goes on from a copy of its checkpoint."""
    for step in (4, 5):
        with contextlib.suppress(ValueError):
            fails_at(step, "retried").train()
    checkpoint = Path("retried/checkpoint-4").rename("copied-checkpoint")
    callback = TunelogCallback()
    trained = trainer("copied", callback)
    trained.train(resume_from_checkpoint=str(checkpoint))
    return result(trained, callback)


def given() -> dict[str, Any]:
    """Into a recorder of the script's own; into one that fails in everything; with a typo."""
    import tunelog

    with tunelog.init("mine", n_epochs=1) as job:
        callback = TunelogCallback(recorder=job)
        trained = trainer("given", callback, max_steps=2)
        trained.train()
        job.log({"mine": 1.0}, step=2)
    broken: Any = object()
    beside = trainer("broken", TunelogCallback(recorder=broken), max_steps=2)
    beside.train()
    try:
        TunelogCallback(naem="typo")
    except TypeError as error:
        return result(trained, callback, typo=str(error), broken=beside.state.global_step)
    return {}


def memory() -> dict[str, Any]:
    """Out of memory at step 3, and begun again with smaller batches by the trainer itself."""
    callback = TunelogCallback()
    trained = trainer("memory", callback, max_steps=4, auto_find_batch_size=True)
    trained.at, trained.error = 3, RuntimeError("CUDA out of memory.")
    trained.train()
    return result(trained, callback)


class MakeRoomAt(StopAt):
    """Has the trainer think that it was asked to make room."""

    trainer: Any

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            handler = self.trainer.callback_handler
            for callback in handler.callbacks:
                if manager := getattr(callback, "jit_manager", None):
                    manager.is_checkpoint_requested = True

    def on_step_end(self, *_: Any, **__: Any) -> None:
        pass


def preempted() -> dict[str, Any]:
    """Makes room after step 3, saving what it has, and goes on."""
    room = MakeRoomAt(2)
    trained = trainer("preempted", TunelogCallback(), room, enable_jit_checkpoint=True, max_steps=5)
    room.trainer = trained
    trained.train()
    callback = TunelogCallback()
    trained = trainer("preempted", callback, max_steps=5)
    trained.train(resume_from_checkpoint=True)
    return result(trained, callback)


def endless() -> dict[str, Any]:
    """Until it is cancelled; on two processes with a bad batch on the second one."""
    callback = TunelogCallback()
    trained = trainer(
        "endless", callback, max_steps=1_000_000, logging_steps=2, logging_nan_inf_filter=False
    )
    trained.at, trained.on_rank = 3, trained.args.world_size - 1
    trained.train()
    step = trained.state.global_step
    if trained.args.process_index:
        Path("rank1").write_text(str(step))
        return {}
    return result(trained, callback, step=step)


class WaitForCancel(TrainerCallback):
    """Begins when rank 0 has heard that the job is cancelled."""

    def __init__(self, callback: TunelogCallback) -> None:
        self.callback = callback

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        while not self.callback.recorder.should_stop:  # type: ignore[union-attr]
            time.sleep(0.01)


def alone() -> dict[str, Any]:
    """On two processes, of which the second one does not have the callback; cancelled before."""
    if os.environ["RANK"] != "0":
        trainer("alone", max_steps=6).train()
        return {}
    callback = TunelogCallback()
    trained = trainer("alone", callback, WaitForCancel(callback), max_steps=6)
    trained.train()
    return result(trained, callback, step=trained.state.global_step)


if __name__ == "__main__":
    done = {name: globals()[name]() for name in sys.argv[1:]}
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(done), flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()  # or its threads may abort the process as it ends
