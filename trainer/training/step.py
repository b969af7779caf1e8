"""One optimiser update: gradients of its batches, in parts where the memory asks for it."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from trainer.config import schedule_factor
from trainer.data import Batch
from trainer.device import free_memory, is_out_of_memory
from trainer.runs import RunError
from trainer.training.loss import compute_losses, compute_prior_losses
from trainer.training.progress import warn
from trainer.training.session import Session
from trainer.training.shortage import can_offload_blocks, name_shortage

Pair = tuple[Batch, Batch]  # a batch, and the one that the prior is measured on

NOTHING_LEFT = (
    "The device ran out of memory with one image at a time and gradient checkpointing. A smaller "
    "dataset.resolution or base_model.quantize = fp8 takes less; `lorasmith estimate` shows what "
    "fits."
)

UPDATE_REMEDY = (
    "optimizer.kind = adamw8bit or a smaller adapter.rank takes less. A run that is resumed goes "
    "on from its last checkpoint."
)


def take_step(session: Session, batches: Iterator[Pair]) -> Tensor:
    """Does one optimiser update; returns its mean loss, on the device and not yet read.

    Where the memory runs out, the gradients are computed again with fewer images at a time; the
    update is the same but for rounding, and the run goes on so.

    Raises:
        RunError: it runs out with one image at a time, too.
        MemoryShortageError: it runs out while the weights are updated.
    """
    config, state = session.config, session.state
    _set_learning_rates(session)
    mean = _compute_within_memory(session, [next(batches) for _ in range(config.train.accumulate)])
    with name_shortage(f"updating the weights at step {state.step + 1}", UPDATE_REMEDY):
        _update(session)
    return mean


def _update(session: Session) -> None:
    """Changes the weights by their gradients.

    Where the memory runs out in here, some weights are updated and others are not: only the last
    checkpoint is sound.
    """
    config, state = session.config.optimizer, session.state
    if config.max_grad_norm:
        parameters = session.adapters.named_parameters().values()
        session.context.accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
    session.optimizer.step()
    state.step += 1
    session.adapters.after_step(state.step)
    session.optimizer.zero_grad(set_to_none=True)
    if state.average:
        state.average.update(state.step)


def _compute_within_memory(session: Session, pairs: Sequence[Pair]) -> Tensor:
    parameters = session.adapters.named_parameters().values()
    while True:
        mean, failed = torch.zeros((), device=session.context.device), False
        try:
            _accumulate(session, pairs, mean)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        if not session.group.add_up(parameters, mean, failed=failed):
            return mean
        # Behind the handler: the error holds the activations of the failed pass.
        session.optimizer.zero_grad(set_to_none=True)
        free_memory(session.context.device)
        _take_less(session)


def _accumulate(session: Session, pairs: Sequence[Pair], mean: Tensor) -> None:
    """Adds up the gradients of this process's share of an update, and its part of the mean loss.

    Args:
        session: The run.
        pairs: The batches of the update.
        mean: A scalar, to which the loss is added.
    """
    spans = session.group.deal([len(batch.indices) for batch, _ in pairs])
    for pair, span in zip(pairs, spans, strict=True):
        # Once for a batch, whoever computes it.
        penalty = session.adapters.penalty() if span[0] == 0 < span[1] else None
        for part in _split(pair, session.config.train.micro_batch, span):
            loss = _compute_loss(session, *part) / len(pairs)
            whole = loss if penalty is None else loss + penalty / len(pairs)
            penalty = None
            session.context.accelerator.backward(whole)
            mean += loss.detach()


def _split(
    pair: Pair, size: int, span: tuple[int, int]
) -> Iterator[tuple[Batch | None, Batch | None, float, float]]:
    """Yields parts of a batch and of the prior's, each with its share of the whole.

    Args:
        pair: Both batches, which have as many examples.
        size: The most examples of a part; 0 for any number.
        span: The examples to yield: the first one, and the one behind the last.
    """
    batch, prior = pair
    if not size and span == (0, len(batch.indices)):
        yield batch, prior, 1.0, 1.0
        return
    own, own_prior = batch.cut(*span), prior.cut(*span)
    size = size or len(batch.indices)
    for part, prior_part in zip_longest(own.split(size), own_prior.split(size)):
        share = len(part.indices) / len(batch.indices) if part else 0.0
        prior_share = len(prior_part.indices) / len(prior.indices) if prior_part else 0.0
        yield part, prior_part, share, prior_share


def _compute_loss(
    session: Session,
    batch: Batch | None,
    prior_batch: Batch | None,
    share: float,
    prior_share: float,
) -> Tensor:
    """Returns a part's contribution to the mean loss of its batch."""
    losses = []
    if batch is not None:
        losses.append(compute_losses(session, batch).mean() * share)
    prior = None if prior_batch is None else compute_prior_losses(session, prior_batch)
    if prior is not None:
        losses.append(session.config.objective.prior_weight * prior.mean() * prior_share)
    return losses[0] if len(losses) == 1 else losses[0] + losses[1]


def _take_less(session: Session) -> None:
    """Has a run take less memory from here on, and keeps that in its settings.

    Raises:
        RunError: there is nothing left to change.
    """
    settings = _find_leaner(session)
    if settings is None:
        raise RunError(NOTHING_LEFT)
    if "train.gradient_checkpointing" in settings:
        session.family.enable_gradient_checkpointing()
    if "base_model.offload_fraction" in settings:
        session.family.blocks.offload(1.0, session.context.device)
    (first, value), *_ = settings.items()
    step = session.state.step + 1
    warn(
        session.run,
        f"The device ran out of memory at step {step}, which is computed again: "
        f"{first} = {str(value).lower()} from here on.",
    )
    session.change_settings(settings)


def _find_leaner(session: Session) -> dict[str, int | float | bool] | None:
    """Returns the settings of the next leaner plan that a loaded run can change to.

    All of them leave the update as it is but for rounding: smaller parts of the batch first, which
    cost least, then computing blocks twice, then blocks that wait in main memory.
    """
    train = session.config.train
    share = session.group.count_largest_share(train.batch_size * train.accumulate)
    size = min(train.micro_batch or train.batch_size, train.batch_size, share)
    if size > 1:
        return {"train.micro_batch": (size + 1) // 2}
    if not train.gradient_checkpointing or train.checkpointing_fraction < 1:
        return {"train.gradient_checkpointing": True, "train.checkpointing_fraction": 1.0}
    if can_offload_blocks(session.config, session.context.device.type):
        return {"base_model.offload_fraction": 1.0}
    return None


def _set_learning_rates(session: Session) -> None:
    config = session.config.optimizer
    steps = session.config.train.steps
    factor = schedule_factor(config, session.state.step, steps)
    for group in session.state.optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
