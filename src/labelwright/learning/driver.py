"""The one training loop. It knows slots, never a system's name: epochs, rounds, devices, looks, checkpoints and logs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwright.errors import DataError, MissingExtra
from labelwright.learning.checkpoint import Checkpoints
from labelwright.learning.data import TrainData
from labelwright.learning.history import History
from labelwright.learning.looking import look
from labelwright.learning.parts import Part
from labelwright.learning.recipe import Recipe
from labelwright.learning.run import Run

CHECKPOINT_SECONDS = 600.0
"""An epoch that takes longer is kept from time to time."""

Progress = Callable[[str, int, int], None]


def fit(
    recipe: Recipe,
    data: TrainData,
    *,
    valid: TrainData | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Run, History]:
    """Train as the recipe says, from the last checkpoint in `folder` where there is one.

    Args:
        valid: looked at every `validate_every` epochs; chooses the weights where the recipe keeps the best.
        folder: for checkpoints and logs; None keeps nothing.
        progress: called as progress("training", step, steps).

    Returns:
        The run with its trained modules, and the history of losses and looks.

    Raises:
        OptionError: parts that do not fit together.   DataError: no items, or a checkpoint of another recipe or other data.
        TrainingError: a loss that is no number.
    """
    if not len(data):
        raise DataError(found="no items", expected="at least one", fix="pass the data that the student learns from")
    if valid is None and (recipe.keep == "best" or recipe.patience is not None):
        raise DataError(
            found="a recipe that chooses by validation data, and none",
            expected="valid=",
            fix="pass valid=TrainData(...), or keep='last' without patience",
        )
    with _own_random(recipe.seed):
        run = Run(recipe, data, _accelerator(recipe))
        run.begin()
        items = len(run.sampler.order(run, 0, _rng(recipe, 0)))
        per_step = recipe.batch_size * recipe.accumulate * run.accelerator.num_processes
        per_epoch = -(-items // per_step)
        run.n_steps = recipe.steps or recipe.epochs * recipe.rounds * per_epoch
        loop = _Loop(
            run, valid, Checkpoints(folder, run), History(folder if run.accelerator.is_main_process else None), progress
        )
        loop.resume()
        loop.train()
    return run, loop.history


class _Loop:
    """Rounds, epochs and steps of one run."""

    def __init__(
        self, run: Run, valid: TrainData | None, checkpoints: Checkpoints, history: History, progress: Progress | None
    ):
        self.run, self.valid, self.checkpoints, self.history = run, valid, checkpoints, history
        self.progress = progress or (lambda *_: None)
        self.best: tuple[float, dict[str, Any]] | None = None
        self.looks_without_gain, self.stopped = 0, False
        self.begun: tuple[int, float, int] | None = None  # of an unfinished epoch: batches, sum of losses, items
        self.saved = time.monotonic()

    def train(self) -> None:
        """To the last step, or to where patience ends."""
        run = self.run
        while run.step < run.n_steps and not self.stopped:
            round_now = min(run.epoch // run.recipe.epochs, run.recipe.rounds - 1)
            if (run.epoch == 0 and self.begun is None) or round_now != run.round:
                run.round = round_now
                self._tell("start_round")
            if self.begun is None:
                self._tell("start_epoch")
            self._epoch()
            run.epoch += 1
            self._after_epoch()
        if run.recipe.keep == "best" and self.best is not None:
            for name, state in self.best[1].items():
                run.bare(name).load_state_dict(state)
        run.train_mode(False)
        self.history.close()

    def _tell(self, hook: str) -> None:
        for part in self.run.parts:
            if isinstance(part, Part):
                getattr(part, hook)(self.run)

    def _epoch(self) -> None:
        run, recipe, began = self.run, self.run.recipe, time.perf_counter()
        run.train_mode(True)
        done, before, seen = self.begun or (0, 0.0, 0)
        total = torch.tensor(before, dtype=torch.float64)
        batches = list(_batches(run))
        for i, items in enumerate(batches):
            if i < done:
                continue
            last = (i + 1) % recipe.accumulate == 0 or i + 1 == len(batches)
            context = run.context(items)
            loss = run.step_part(run, context)
            if loss is not None:
                run.check_finite(context, loss)
                run.learn(loss, last=last)
                total, seen = total + loss.detach().double().cpu() * len(items), seen + len(items)
            if not last:
                continue
            for part in run.parts:
                if isinstance(part, Part):
                    part.after(run, context)
            run.step += 1
            self.progress("training", run.step, run.n_steps)
            if run.step >= run.n_steps:
                break
            if time.monotonic() - self.saved > CHECKPOINT_SECONDS:
                self.begun = i + 1, float(total), seen
                self._save()
        self.begun = None
        parts = {f"loss {name}": float(value.mean()) for name, value in run.losses.items()}
        mean = float(total) / seen if seen else float("nan")
        self.history.add(
            epoch=run.epoch + 1, step=run.step, seconds=time.perf_counter() - began, loss=mean,
            lr=run.optimizer.param_groups[0]["lr"], **(parts if len(parts) > 1 else {}),
        )  # fmt: skip

    def _after_epoch(self) -> None:
        run, recipe = self.run, self.run.recipe
        ended = run.step >= run.n_steps
        if self.valid is not None and (run.epoch % recipe.validate_every == 0 or ended):
            found = look(run, self.valid)
            self.history.add_to_last({f"valid {name}": value for name, value in found.items()})
            self._judge(found)
        if run.epoch % recipe.checkpoint_every == 0 or ended or self.stopped:
            self._save()

    def _save(self) -> None:
        self.checkpoints.save(self.state)
        self.saved = time.monotonic()

    def _judge(self, found: dict[str, float]) -> None:
        recipe = self.run.recipe
        value = found.get(recipe.monitor, float("nan")) * (-1 if recipe.monitor == "nll" else 1)
        if self.best is None or value > self.best[0]:
            kept = {}
            if recipe.keep == "best":
                kept = {n: _copy(self.run.bare(n).state_dict()) for n in self.run.modules}
            self.best, self.looks_without_gain = (value, kept), 0
            return
        self.looks_without_gain += 1
        self.stopped = recipe.patience is not None and self.looks_without_gain >= recipe.patience

    # -- checkpoints -----------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on as if nothing had happened."""
        run = self.run
        return {
            "counters": {
                "epoch": run.epoch, "step": run.step, "round": run.round, "looks_without_gain": self.looks_without_gain,
                "stopped": self.stopped, "history": self.history.rows,
                "begun": self.begun, "best": None if self.best is None else self.best[0],
            },
            "modules": {name: run.bare(name).state_dict() for name in run.modules},
            "best": {} if self.best is None else self.best[1],
            "optimizer": run.optimizer.state_dict(),
            "parts": {str(i): part.state() for i, part in enumerate(run.parts) if isinstance(part, Part) and part.state()},
            "torch_random": torch.get_rng_state(),
        }  # fmt: skip

    def resume(self) -> None:
        """Take up the last checkpoint, where there is one."""
        found = self.checkpoints.load()
        if found is None:
            return
        run, counters = self.run, found["counters"]
        run.epoch, run.step, run.round = counters["epoch"], counters["step"], counters["round"]
        self.looks_without_gain, self.stopped = counters["looks_without_gain"], counters["stopped"]
        self.history.rows = counters["history"]
        self.begun = None if counters["begun"] is None else tuple(counters["begun"])
        if counters["best"] is not None:
            self.best = counters["best"], found.get("best", {})
        for name in run.modules:
            run.bare(name).load_state_dict(found["modules"][name])
        run.optimizer.load_state_dict(found["optimizer"])
        for i, state in found.get("parts", {}).items():
            run.parts[int(i)].restore(state)
        torch.set_rng_state(found["torch_random"])


def _batches(run: Run) -> Iterator[np.ndarray]:
    """Item numbers of every batch of this epoch; several processes take turns."""
    order = np.asarray(run.sampler.order(run, run.epoch, _rng(run.recipe, run.epoch)), np.int64)
    size, turns = run.recipe.batch_size, run.accelerator.num_processes
    if turns > 1:  # every process needs as many batches as the others
        order = np.concatenate([order, order[: -len(order) % (size * turns)]])
        order = order.reshape(-1, turns, size)[:, run.accelerator.process_index].ravel()
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _rng(recipe: Recipe, epoch: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, epoch, 0])


def _copy(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in state.items()}


@contextlib.contextmanager
def _own_random(seed: int) -> Iterator[None]:
    """torch's generator seeded within, and as it was after."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _accelerator(recipe: Recipe) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as missing:
        raise MissingExtra(
            found="no accelerate", expected="accelerate for training", fix='pip install "labelwright[learn]"'
        ) from missing
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != recipe.precision:
        AcceleratorState._reset_state()  # it remembers the precision of the last training in this process
    return Accelerator(mixed_precision=recipe.precision)
