"""Memory of a computation that is traced and not made: tensors without numbers, and a log of their coming and going.

`FakeTensorMode` runs PyTorch's own code, its autograd included, on tensors that have shapes and no memory; so what is
counted is what the lab's code allocates, for any backbone, and with gradient checkpointing or autocast as they are.
What a kernel allocates within itself is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(eq=False)
class Storage:
    """Memory that tensors share.

    Attributes:
        scope: whose computation made it, as `Meter.scope` said at that moment; of a gradient, whose it is.
        width: last dimension of the tensor that it was made for.
        group: of a parameter's gradient, those that shards reduce together: `root`, or a number; else `None`.
    """

    nbytes: float
    scope: str
    width: int
    group: str | None = None


ROOT = "root"
"""The group of embeddings, last norm and heads, which is reduced at the end of the backward pass."""

Changes = Iterator[tuple[Storage, bool]]


@dataclass
class Log:
    """What was allocated and freed, in order: (storage, whether it came); and bytes that were moved to the host."""

    events: list[tuple[Storage, bool]] = field(default_factory=list)
    moved: int = 0

    @property
    def gradients(self) -> float:
        """Bytes of all gradients."""
        return sum(storage.nbytes for storage, came in self.events if came and storage.group is not None)

    def peak(self, *, accumulating: bool = False, shards: int | None = None, widened: float = 1.0) -> list[Storage]:
        """What is there when most is there.

        Args:
            accumulating: whether an earlier micro-batch has left gradients: each new one is then added to its own and
                gone, and those that were left, which are there all the time, don't appear in the answer.
            shards: devices that share each gradient; `None` where nothing is sharded.
            widened: bytes of a number of a reduced gradient over those of an unreduced one.
        """

        def changes() -> Changes:
            return self._whole(accumulating) if shards is None else self._sharded(accumulating, shards, widened)

        now, highest, when = 0.0, -1.0, 0
        for number, (storage, came) in enumerate(changes()):
            now += storage.nbytes if came else -storage.nbytes
            if now > highest:
                highest, when = now, number
        alive: dict[Storage, None] = {}
        for _, (storage, came) in zip(range(when + 1), changes(), strict=False):
            if came:
                alive[storage] = None
            else:
                alive.pop(storage)
        return list(alive)

    def _whole(self, accumulating: bool) -> Changes:
        for storage, came in self.events:
            if storage.group is None or (came and not accumulating):
                yield storage, came
            elif came:
                yield from ((storage, True), (storage, False))

    def _sharded(self, accumulating: bool, shards: int, widened: float) -> Changes:
        """Gradients of a block wait for each other, and the root's for the end, as FSDP2 has it."""
        waiting: dict[tuple[str, str], list[Storage]] = {}
        for storage, came in self.events:
            if storage.group is None:
                yield storage, came
            elif came:
                group = storage.scope, storage.group
                if storage.group != ROOT:
                    for done in [other for other in waiting if other[1] != ROOT and other != group]:
                        yield from self._reduced(waiting.pop(done), accumulating, shards, widened)
                yield storage, True
                waiting.setdefault(group, []).append(storage)
        for group in sorted(waiting, key=lambda group: group[1] == ROOT):
            yield from self._reduced(waiting[group], accumulating, shards, widened)

    def _reduced(self, group: list[Storage], accumulating: bool, shards: int, widened: float) -> Changes:
        """Gradients are copied into one piece, in which ranks add them up; each keeps its share."""
        size = widened * sum(storage.nbytes for storage in group)
        scope, name = group[0].scope, group[0].group
        piece, share = (Storage(n, scope, 1, name) for n in (size, size / shards))
        yield piece, True
        yield from ((storage, False) for storage in group)
        if not accumulating:
            yield share, True
        yield piece, False


class Meter(TorchDispatchMode):
    """Writes a log of the storages that operations make within it.

    Attributes:
        scope: set by the caller.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.scope = ""
        self._known: dict[int, Storage] = {}

    def know(self, tensors: Iterable[Tensor]) -> None:
        """What is there before, and is not counted."""
        for tensor in tensors:
            self._known.setdefault(tensor.untyped_storage()._cdata, Storage(0, "", 0))

    def gradients_of(self, scope: str, group: str, parameters: Iterable[nn.Parameter]) -> None:
        """Mark what has become the gradients of a model's parameters."""
        for parameter in parameters:
            if parameter.grad is not None:
                storage = self._known[parameter.grad.untyped_storage()._cdata]
                storage.scope, storage.group = scope, group

    @contextmanager
    def of(self, scope: str) -> Iterator[None]:
        """What is made within belongs to `scope`."""
        before, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._meet(tensor)
        return made

    def _meet(self, tensor: Tensor) -> None:
        memory = tensor.untyped_storage()
        address = memory._cdata
        if address in self._known:
            return
        storage = Storage(memory.nbytes(), self.scope, tensor.shape[-1] if tensor.ndim else 1)
        self._known[address] = storage
        self.log.events.append((storage, True))
        weakref.finalize(memory, self._leave, address, storage).atexit = False

    def _leave(self, address: int, storage: Storage) -> None:
        # The address may have been given to another meanwhile.
        if self._known.get(address) is storage:
            del self._known[address]
        self.log.events.append((storage, False))


def fake() -> Any:
    """A mode in which tensors have no memory. What needs numbers, such as a choice by a tensor's content, fails."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def autocast(on: bool) -> Any:
    """bf16 arithmetic as Lightning's `bf16-mixed` has it. The trace pretends to be on CPU, whatever the run is on."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=on)
