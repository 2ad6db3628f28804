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
        scope: whose computation made it, as `Meter.scope` said at that moment.
        width: last dimension of the tensor that it was made for.
        gradient: whether it ended as a parameter's gradient.
    """

    nbytes: int
    scope: str
    width: int
    gradient: bool = False


@dataclass
class Log:
    """What was allocated and freed, in order: (storage, whether it came); and bytes that were moved to the host."""

    events: list[tuple[Storage, bool]] = field(default_factory=list)
    moved: int = 0

    @property
    def gradients(self) -> int:
        """Bytes of all gradients."""
        return sum(storage.nbytes for storage, came in self.events if came and storage.gradient)

    def peak(self, *, accumulating: bool = False) -> list[Storage]:
        """What is there when most is there.

        Args:
            accumulating: whether an earlier micro-batch has left gradients: each new one is then added to its own and
                gone, and those that were left, which are there all the time, don't appear in the answer.
        """
        now, highest, when = 0, -1, 0
        for number, (storage, came) in enumerate(self._changes(accumulating)):
            now += storage.nbytes if came else -storage.nbytes
            if now > highest:
                highest, when = now, number
        alive: dict[Storage, None] = {}
        for number, (storage, came) in enumerate(self._changes(accumulating)):
            if number > when:
                break
            if came:
                alive[storage] = None
            else:
                alive.pop(storage)
        return list(alive)

    def _changes(self, accumulating: bool) -> Iterator[tuple[Storage, bool]]:
        for storage, came in self.events:
            if not storage.gradient or (came and not accumulating):
                yield storage, came
            elif came:
                yield from ((storage, True), (storage, False))


class Meter(TorchDispatchMode):
    """Writes a log of the storages that operations make within it.

    Attributes:
        scope: set by whoever traces.
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

    def gradients_of(self, models: Iterable[nn.Module]) -> None:
        """Mark what has become their gradients."""
        for model in models:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    self._known[parameter.grad.untyped_storage()._cdata].gradient = True

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
