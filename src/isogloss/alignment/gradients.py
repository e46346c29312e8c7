"""Each item's own gradient (Eq. 1): of a soft prompt, of hidden states, or of any parameters.

Items stand in rows of their own. Where each row has its own copy of what is differentiated, one
backward pass of the summed loss gives every item's gradient, exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.model.answer import answer_lengths, answer_sums, token_log_probabilities
from isogloss.model.layers import Edit, edited
from isogloss.model.prompt import prompted, vocabulary_rows
from isogloss.packing import Answer, Batch, EncodedGroup, pack

BATCH = 8
TOKENS = 4096  # of a batch, with padding
SKETCH = 8192  # numbers of a projected gradient: a cosine's standard error is about 0.011
Places = Sequence[int] | None


def soft_prompt_gradients(
    model: PreTrainedModel,
    prompt: Tensor,
    groups: Sequence[EncodedGroup],
    *,
    demonstration_answers: Places = (),
    weight: float = 1.0,
    batch_size: int = BATCH,
) -> Tensor:
    """The gradient of each target's loss by the soft prompt, fp32, (items, m * width).

    `prompt`: (m, width), what ids V, V + 1 ... of the groups stand for. An item's loss is
    CE(y_t) + weight * mean_j CE(y_dj), over the demonstrations' answers that are named as in
    `packing.pack`; each CE is the mean over the answer's tokens, in nats.
    """
    loss = ItemLoss(demonstration_answers, weight, batch_size)
    return probe_gradients(model, prompt, groups, layers=(), loss=loss)[0]


def residual_gradients(
    model: PreTrainedModel,
    groups: Sequence[EncodedGroup],
    *,
    layers: Sequence[int],
    demonstration_answers: Places = (),
    weight: float = 1.0,
    batch_size: int = BATCH,
) -> Tensor:
    """The gradient of each target's loss by hidden states, fp32, (items, layers, width).

    By those of the given layers at the position that predicts the first token of the target's
    answer. Whatever a method tunes, this gradient has the same form, so methods can be compared.
    """
    loss = ItemLoss(demonstration_answers, weight, batch_size)
    return probe_gradients(model, None, groups, layers=layers, loss=loss)[1]


@dataclass(frozen=True)
class ItemLoss:
    """An item's loss, as `soft_prompt_gradients` has it, and how many items stand in a batch.

    With the code of the `dominant` language batches have spans. `meet` is shown each batch before
    its pass, for what reads them, such as a representation shift.
    """

    demonstration_answers: Places = ()
    weight: float = 1.0
    batch_size: int = BATCH
    dominant: str | None = None
    meet: Callable[[Batch], object] | None = None

    def packed(self, groups: Sequence[EncodedGroup]) -> tuple[Batch, tuple[Answer, ...]]:
        """A batch with each target in a row of its own."""
        return pack(
            groups,
            layout="rows",
            demonstration_answers=self.demonstration_answers,
            dominant=self.dominant,
        )

    def values(self, model: PreTrainedModel, batch: Batch, answers: Sequence[Answer]) -> Tensor:
        """Each target's loss, (targets,), in nats."""
        batch = batch.to(model.device)
        if self.meet:
            self.meet(batch)
        means = -answer_sums(token_log_probabilities(model, batch), batch) / answer_lengths(batch)
        owners = torch.tensor([answer.target for answer in answers], device=means.device)
        solved = torch.tensor([answer.kind == "demonstration" for answer in answers])
        solved = solved.to(means.device)
        count = int(owners.max()) + 1
        own = means.new_zeros(count).index_add(0, owners[~solved], means[~solved])
        if not bool(solved.any()):
            return own
        shown = means.new_zeros(count).index_add(0, owners[solved], means[solved])
        several = torch.bincount(owners[solved], minlength=count).clamp(min=1)
        return own + self.weight * shown / several


def probe_gradients(
    model: PreTrainedModel,
    prompt: Tensor | None,
    groups: Sequence[EncodedGroup],
    *,
    layers: Sequence[int],
    loss: ItemLoss,
) -> tuple[Tensor, Tensor]:
    """Both gradients of one backward pass: by the soft prompt, and by hidden states.

    (items, m * width) and (items, layers, width). Without a `prompt` the first has no columns, and
    ids of a soft prompt are those of one that is in the model.
    """
    items = _alone(groups)
    by_prompt: list[Tensor] = [torch.empty(0)] * len(items)
    by_state: list[Tensor] = [torch.empty(0)] * len(items)
    for places in _batches(items, loss.batch_size):
        found = _probed(model, prompt, [items[place] for place in places], layers, loss)
        for row, place in enumerate(places):
            by_prompt[place], by_state[place] = found[0][row], found[1][row]
    return torch.stack(by_prompt), torch.stack(by_state)


def _probed(
    model: PreTrainedModel,
    prompt: Tensor | None,
    groups: Sequence[EncodedGroup],
    layers: Sequence[int],
    loss: ItemLoss,
) -> tuple[Tensor, Tensor]:
    """The two gradients of one batch, a group of one target a row."""
    count = len(groups)
    copies = nn.Parameter(torch.zeros(0, 1) if prompt is None else prompt.detach().float())
    if prompt is not None:
        copies = nn.Parameter(copies.detach().repeat(count, 1))
        rows = vocabulary_rows(model)
        groups = [_with_prompt(each, rows, n * len(prompt)) for n, each in enumerate(groups)]
    batch, answers = loss.packed(groups)
    columns = _first_columns(batch, answers, count).to(model.device)
    shape = (count, model.config.get_text_config().hidden_size)
    probes = [torch.zeros(shape, device=model.device, requires_grad=True) for _ in layers]
    edits = {layer: _adding(probe, columns) for layer, probe in zip(layers, probes, strict=True)}
    inside = nullcontext() if prompt is None else prompted(model, copies)
    with _learning(model, {}), inside, edited(model, edits), torch.enable_grad():
        total = loss.values(model, batch, answers).sum()
        wanted = [*probes, copies] if prompt is not None else probes
        found = torch.autograd.grad(total, wanted)
    by_state = (
        torch.stack(found[: len(probes)], dim=1).float().cpu()
        if probes
        else torch.zeros(count, 0, shape[1])
    )
    by_prompt = found[-1].reshape(count, -1).cpu() if prompt is not None else torch.zeros(count, 0)
    return by_prompt, by_state


def _with_prompt(group: EncodedGroup, vocabulary: int, offset: int) -> EncodedGroup:
    """The group with the ids of its soft prompt moved to a copy of its own."""
    front = group.demonstrations
    ids = tuple(number + offset if number >= vocabulary else number for number in front.ids)
    return dataclasses.replace(group, demonstrations=dataclasses.replace(front, ids=ids))


def _adding(probe: Tensor, columns: Tensor) -> Edit:
    """An edit that adds a vector to each row's state at its column."""

    def edit(hidden: Tensor) -> Tensor:
        rows = torch.arange(len(columns), device=hidden.device)
        return hidden.index_put((rows, columns), probe.to(hidden.dtype), accumulate=True)

    return edit


def _first_columns(batch: Batch, answers: Sequence[Answer], rows: int) -> Tensor:
    """Where each row reads the first token of its target's answer."""
    columns = torch.zeros(rows, dtype=torch.long)
    first: set[int] = set()
    for row, column, answer in zip(
        batch.row.tolist(), batch.column.tolist(), batch.answer.tolist(), strict=True
    ):
        if answers[answer].kind == "target" and answer not in first:
            first.add(answer)
            columns[row] = column
    return columns


def parameter_gradients(
    model: PreTrainedModel,
    parameters: Mapping[str, nn.Parameter],
    groups: Sequence[EncodedGroup],
    *,
    size: int | None = SKETCH,
    seed: int = 0,
    demonstration_answers: Places = (),
    weight: float = 1.0,
) -> Tensor:
    """The gradient of each target's loss by parameters of the model, item after item, (items, ...).

    With `size` each is projected to so many numbers at random: inner products are those of the
    gradients on average, and the standard error of a cosine c is at most sqrt((1 + c^2) / size).
    Without, all parameters one after the other, exactly.
    """
    loss = ItemLoss(demonstration_answers, weight, 1)
    return tuned_gradients(model, parameters, groups, loss=loss, size=size, seed=seed)


def tuned_gradients(
    model: PreTrainedModel,
    parameters: Mapping[str, nn.Parameter],
    groups: Sequence[EncodedGroup],
    *,
    loss: ItemLoss,
    size: int | None = SKETCH,
    seed: int = 0,
) -> Tensor:
    """`parameter_gradients` for any item loss."""
    found = []
    sketch = Sketch(size, seed) if size else None
    for group in _alone(groups):
        batch, answers = loss.packed([group])
        with _learning(model, parameters), torch.enable_grad():
            total = loss.values(model, batch, answers).sum()
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        whole = {
            name: torch.zeros_like(own) if gradient is None else gradient
            for (name, own), gradient in zip(parameters.items(), gradients, strict=True)
        }
        flat = {name: each.detach().float().flatten() for name, each in whole.items()}
        found.append((sketch.of(flat) if sketch else torch.cat(list(flat.values()))).cpu())
    return torch.stack(found)


class Sketch:
    """A random projection that keeps inner products on average, the same for every item.

    A vector is cut into pieces of `size`; each is turned round by a random number of places, its
    numbers get random signs, and the pieces are added up (a count sketch, Charikar et al. 2002;
    two numbers of different pieces fall together with chance 1/size, two of one piece never).
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._drawn: dict[str, tuple[Tensor, list[int]]] = {}

    def of(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """The projection, (size,), of named flat vectors together."""
        total = torch.zeros(self.size)
        for name, vector in vectors.items():
            signs, turns = self._draw(name, len(vector))
            signed = vector.cpu() * signs
            for place, turn in enumerate(turns):
                piece = signed[place * self.size : (place + 1) * self.size]
                whole = piece if len(piece) == self.size else self._filled(piece)
                total += torch.roll(whole, turn)
        return total

    def _filled(self, piece: Tensor) -> Tensor:
        return torch.cat([piece, piece.new_zeros(self.size - len(piece))])

    def _draw(self, name: str, length: int) -> tuple[Tensor, list[int]]:
        """Signs of every number and a turn of every piece, by the seed and the vector's name."""
        if name not in self._drawn:
            source = torch.Generator().manual_seed(self.seed * 1_000_003 + _number(name))
            signs = torch.randint(0, 2, (length,), generator=source, dtype=torch.int8) * 2 - 1
            pieces = -(-length // self.size)
            turns = torch.randint(0, self.size, (pieces,), generator=source).tolist()
            self._drawn[name] = (signs, turns)
        return self._drawn[name]


def _number(name: str) -> int:
    """A number of a name, the same in every process."""
    value = 0
    for letter in name.encode():
        value = (value * 257 + letter) % (2**31 - 1)
    return value


# ---- losses --------------------------------------------------------------------------------------


def _alone(groups: Sequence[EncodedGroup]) -> list[EncodedGroup]:
    """A group of its own for each target, in their order."""
    return [
        EncodedGroup(group.demonstrations, (target,))
        for group in groups
        for target in group.targets
    ]


def _batches(groups: Sequence[EncodedGroup], size: int) -> Iterator[list[int]]:
    """Places of items of like length together: there is less padding.

    At most `size` of them, and no more than `TOKENS` with padding unless one item alone has more:
    every layer's activations are kept for the backward pass.
    """
    lengths = [
        len(group.demonstrations.ids) + len(group.targets[0].ids) + len(group.targets[0].answer)
        for group in groups
    ]
    batch: list[int] = []
    for place in sorted(range(len(groups)), key=lengths.__getitem__):
        if batch and (len(batch) == size or (len(batch) + 1) * lengths[place] > TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


@contextmanager
def _learning(model: PreTrainedModel, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Only these parameters take gradients; everything as it was at the end."""
    every = [*model.parameters(), *parameters.values()]
    before = [each.requires_grad for each in every]
    try:
        for each in model.parameters():
            each.requires_grad_(False)
        for each in parameters.values():
            each.requires_grad_(True)
        yield
    finally:
        for each, learnt in zip(every, before, strict=True):
            each.requires_grad_(learnt)
