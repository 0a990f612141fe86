"""One training of a Hugging Face Trainer, told to a recorder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from accelerate.utils.memory import should_reduce_batch_size
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tunelog.integrations.hf_nonfinite import LossWatch, Window
from tunelog.integrations.hf_ranks import Ranks
from tunelog.integrations.hf_trainer import Hooks, Method
from tunelog.integrations.progress import Progress
from tunelog.recorder import Recorder
from tunelog.recorder.details import write_job_file

STOPPED = "stopped"
"""In tunelog.json: the training ended before its last step, and may go on from a checkpoint."""

_SUMMARY = ("train_", "init_mem_", "before_init_mem_", "total_flos")
Row = dict[str, Any]


class Training:
    """What is known of one call of `Trainer.train()`.

    Attributes:
        recorder: where it is recorded; None on a process that does not record.
        ended: whether it is over. What is logged from then on is still recorded.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        args: Any,
        state: Any,
        trainer: Any,
        *,
        ends_job: bool,
        output_dir: str,
        guard: Callable[[Method], Method],
    ) -> None:
        """`ends_job`: the job ends with it. `guard` keeps a fault of ours out of the training."""
        self.recorder = recorder
        self.ended = False
        self._trainer = trainer
        self._args = args
        self._ends_job = ends_job
        self._output_dir = output_dir
        self._step = state.global_step
        self._progress = Progress(state.max_steps, state.global_step)
        self._saved_at = -1
        self._is_cancelled = False
        self._logged = False
        self._has_bad = self._is_poisoned = self._said_poisoned = self._said_alone = False
        self._watch = LossWatch()
        self._ranks = Ranks(args.process_index, args.world_size)
        self._hooks = Hooks(trainer)
        self._see = guard(self._watch.see)
        self._saved = guard(self.saved)
        self._failed = guard(self.failed)
        if trainer is not None:
            self._hooks.replace("training_step", self._around_step)
            self._hooks.replace("_save_checkpoint", self._around_saving)
            for name in ("_evaluate", "_run_epoch", "_finalize_training"):
                self._hooks.replace(name, self._around)

    # ------------------------------------------------------------ inside the trainer

    def _around(self, method: Method) -> Method:
        """The same method, whose exceptions end the job before they go on."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except BaseException as error:
                self._failed(error)
                raise

        return watched

    def _around_step(self, method: Method) -> Method:
        method = self._around(method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            loss = method(*args, **kwargs)
            self._see(loss)
            return loss

        return watched

    def _around_saving(self, method: Method) -> Method:
        """Also what saves without a word to callbacks, such as one that was asked to make room."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            done = method(*args, **kwargs)
            self._saved(self._trainer.state, self._trainer.model)
            return done

        return watched

    # ------------------------------------------------------------ steps

    def step_ended(self, state: Any, control: Any) -> None:
        """An optimizer step is done; the row of it, if there is one, is not logged yet."""
        self._step = state.global_step
        self._watch.step_ended()
        if self._ranks.size == 1:
            if self.recorder is not None and self.recorder.should_stop:
                self._cancel(control)
            return
        if self._logged:
            self._logged = False
            if self._ranks.told_stop():
                self._cancel(control)
        self.before_row(state, control)

    def epoch_ended(self, state: Any, control: Any) -> None:
        """An epoch is done, or was left in the middle."""
        epochs = _whole_epochs(state)
        if self.recorder is not None and state.epoch and epochs == state.epoch:
            words = f"Epoch {epochs} of {state.num_train_epochs} is complete."
            self.recorder.event(words, type="epoch_complete", step=state.global_step)
            self.recorder.update(epochs_completed=epochs)
        self.before_row(state, control)

    def before_row(self, state: Any, control: Any) -> None:
        """In a distributed training: tell the other processes what they have to know, if the
        trainer is about to gather their losses.
        """
        if self._ranks.size == 1 or not control.should_log or not self._watch.steps:
            return
        if self._ranks.rank != 0:
            window = self._watch.take(with_total=self._is_poisoned)
            if window.bad or self._is_poisoned:
                self._ranks.post(state.global_step, window)
        elif self.recorder is not None and self.recorder.should_stop:
            self._tell_stop(self.recorder)

    def _tell_stop(self, recorder: Recorder) -> None:
        if not self._ranks.tell_stop() and not self._said_alone:
            self._said_alone = True
            words = "The cancel cannot be passed on: the callback is not on every rank."
            recorder.event(words, level="warning", step=self._step)

    def _cancel(self, control: Any) -> None:
        control.should_training_stop = True
        self._is_cancelled = True

    # ------------------------------------------------------------ rows

    def logged(self, logs: Mapping[str, Any], state: Any) -> None:
        """The trainer logs: a row of the training, of an evaluation, or its closing summary."""
        if "train_loss" in logs and "loss" not in logs:
            self._summarize(logs, state)
            return
        row = rewritten(logs)
        if "loss" in logs and "learning_rate" in logs and not self.ended:
            self._logged = True
            row = self._checked(row, state)
            self._estimate(state)
        if self.recorder is not None:
            self.recorder.log(row, state.global_step)

    def _checked(self, row: Row, state: Any) -> Row:
        """The row, with what the steps themselves say of it."""
        loss = float(row["train/loss"])
        poisoned = self._is_poisoned
        self._is_poisoned = poisoned or not math.isfinite(loss)
        if self.recorder is None or self._ranks.rank != 0:
            return row
        windows = [self._watch.take(with_total=poisoned), *self._ranks.posted(state.global_step)]
        steps = windows[0].steps
        bad = sorted({index for window in windows for index in window.bad})
        if bad:
            self._say_bad(state.global_step - steps + 1 + bad[0])
            return {**row, "train/nonfinite_steps": len(bad)}
        if poisoned and not math.isfinite(loss) and len(windows) == self._ranks.size:
            mean = _mean(windows)
            if math.isfinite(mean):
                self._say_poisoned(state.global_step)
                return {**row, "train/loss": mean}
        return row

    def _say_bad(self, step: int) -> None:
        assert self.recorder is not None
        if not self._has_bad:
            self._has_bad = True
            words = f"The loss of step {step} is NaN or infinite, the first such step of this run."
            if self._args.logging_nan_inf_filter:
                words += " logging_nan_inf_filter hides it from the logged loss;"
                words += " train/nonfinite_steps counts such steps."
            self.recorder.event(words, level="warning", step=step)

    def _say_poisoned(self, step: int) -> None:
        assert self.recorder is not None
        if not self._said_poisoned:
            self._said_poisoned = True
            words = "The trainer goes on to log NaN, because it adds to a sum that was NaN once."
            words += " Recorded is the mean of the steps' own losses."
            self.recorder.event(words, type="warning", step=step)

    def _estimate(self, state: Any) -> None:
        seconds = self._progress.remaining(state.global_step)
        if self.recorder is not None and seconds is not None:
            self.recorder.update(seconds_remaining=seconds, **self._tokens(state))

    def _tokens(self, state: Any) -> dict[str, Any]:
        """The tokens seen, if they are counted."""
        return {"token_count": state.num_input_tokens_seen} if state.num_input_tokens_seen else {}

    def _summarize(self, logs: Mapping[str, Any], state: Any) -> None:
        """The closing summary is of the whole training, so it is no point of the curve."""
        summary = {name: value for name, value in logs.items() if name.startswith(_SUMMARY)}
        rest = {name: value for name, value in logs.items() if name not in summary}
        if self.recorder is None:
            return
        if rest.keys() - {"epoch", "num_input_tokens_seen"}:
            self.recorder.log(rewritten(rest), state.global_step)
        self.recorder.update(hyperparameters=summary, **self._tokens(state))
        words = ", ".join(f"{name} {_shown(value)}" for name, value in summary.items())
        step = state.global_step
        self.recorder.event(
            f"Trained to step {step} of {state.max_steps}: {words}.",
            type="training_complete",
            step=step,
            total_steps=step,
        )

    # ------------------------------------------------------------ checkpoints and ends

    def saved(self, state: Any, model: Any) -> None:
        """A checkpoint is there: record it, and put the job's id into it."""
        step = state.global_step
        path = os.path.join(self._output_dir, f"{PREFIX_CHECKPOINT_DIR}-{step}")
        if self.recorder is None or not state.is_world_process_zero or self._saved_at == step:
            return
        self._saved_at = step
        self.recorder.checkpoint(
            os.path.abspath(path),
            step=step,
            checkpoint_type="Final" if step >= state.max_steps else "Intermediate",
            checkpoint="adapter" if getattr(model, "peft_config", None) else "model",
        )
        if os.path.isdir(path):
            write_job_file(path, self.recorder.id)

    def over(self, state: Any) -> None:
        """`train()` returns: say how the job ended."""
        if self._close() or self.recorder is None:
            return
        self.recorder.update(epochs_completed=_whole_epochs(state), **self._tokens(state))
        if state.global_step >= state.max_steps:
            self._end("completed")
        elif self._is_cancelled:
            self._end("cancelled")
        else:
            self._stopped_early(state)

    def _stopped_early(self, state: Any) -> None:
        """Something asked the trainer to stop: that it is done, or has to make room."""
        assert self.recorder is not None
        where = f"at step {state.global_step} of {state.max_steps}"
        handler = getattr(self._trainer, "callback_handler", None)
        if any(map(_has_had_enough, handler.callbacks if handler else ())):
            best = state.best_global_step, state.best_metric
            words = f"Stopped early {where}; the best was step {best[0]} with {_shown(best[1])}."
            self.recorder.event(words, type="early_stopped", step=state.global_step)
            self.recorder.update(
                early_stopped=True,
                early_stopping_best_step=best[0],
                early_stopping_best_metric=best[1],
            )
            self._end("completed")
        elif getattr(self._args, "enable_jit_checkpoint", False):
            words = f"Stopped {where} to make room."
            self.recorder.event(words, level="warning", step=state.global_step)
            if self._ends_job:
                self.recorder.finish(None)
        else:
            self.recorder.event(f"Stopped {where}.", type="warning", step=state.global_step)
            self._end("completed")
            if self._ends_job:
                write_job_file(self._output_dir, self.recorder.id, STOPPED)

    def failed(self, error: BaseException) -> None:
        """An exception leaves `train()`: the job ends with it."""
        if self._close() or self.recorder is None or not self._ends_job:
            return
        if isinstance(error, SystemExit) and not error.code:
            self.recorder.__exit__(type(error), error, None)
        elif getattr(self._args, "auto_find_batch_size", False) and should_reduce_batch_size(error):
            words = "Out of memory; the trainer begins again with smaller batches."
            self.recorder.event(words, level="warning", step=self._step)
            self.recorder.finish(None, timeout=0)
        else:
            stopped = isinstance(error, KeyboardInterrupt)
            words = f"{type(error).__name__}: {error}".removesuffix(": ")
            kind, level = ("warning", "warning") if stopped else ("job_error", "error")
            self.recorder.event(words, type=kind, level=level, step=self._step)  # type: ignore[arg-type]
            self._end("cancelled" if stopped else "error")

    def _close(self) -> bool:
        """Let go of the trainer; answers whether that was done before."""
        was_ended, self.ended = self.ended, True
        self._hooks.put_back()
        self._ranks.close()
        return was_ended

    def _end(self, status: Any) -> None:
        """End the job, and leave the recorder open for evaluations that come now."""
        if self._ends_job and self.recorder is not None:
            self.recorder.update(status=status)


def _has_had_enough(callback: Any) -> bool:
    """Whether this is an early stopping that ran out of patience."""
    return (
        isinstance(callback, EarlyStoppingCallback)
        and callback.early_stopping_patience_counter >= callback.early_stopping_patience
    )


def rewritten(logs: Mapping[str, Any]) -> Row:
    """A trainer's row under tunelog's names, as Hugging Face names them for other trackers.

    `eval_loss` is `eval/loss`, `loss` is `train/loss`, and the epoch is `train/epoch` in every row.
    An evaluation, which is known by its `…_runtime`, is under `eval/` with whatever prefix.
    """
    prefixes = [name.removesuffix("_runtime") for name in logs if name.endswith("_runtime")]
    other = tuple(
        f"{prefix}_"
        for prefix in prefixes
        if prefix != "train" and f"{prefix}_samples_per_second" in logs
    )
    return {_metric(name, other): value for name, value in logs.items()}


def _metric(name: str, evaluated: tuple[str, ...]) -> str:
    if name.startswith(("eval_", *evaluated)):
        return f"eval/{name.removeprefix('eval_')}"
    return f"train/{name}"


def _mean(windows: list[Window]) -> float:
    """The mean loss of a step, over all processes."""
    total = sum(window.total for window in windows) / len(windows)
    return total / max(windows[0].steps, 1)


def _whole_epochs(state: Any) -> int:
    return math.floor((state.epoch or 0) + 1e-6)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
