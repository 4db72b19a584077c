"""A device that is not there: tensors that say they are on cuda:0 or mps:0, and hold their numbers on the CPU.

They refuse what such tensors refuse: to meet tensors of the CPU, to become an array, float64 on mps. Transfers are
counted, and so is each time that the CPU waits for the device. What is copied down beside the device's work holds
rubbish until it was waited for. To be installed in a process of its own, before the project is imported:
`install("cuda")`.
"""

import collections
import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

GB = 1 << 30
COUNTS: collections.Counter[str] = collections.Counter()
"""Transfers ("up", "down") and waits of the CPU ("wait") so far, each with the line of the project that asked."""

THREADS: set[int] = set()
"""Those that used the device."""

WAITS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__")

MOVES = ("to", "cpu", "cuda", "copy_", "item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__")
INDEXING = ("__getitem__", "__setitem__", "index_select", "gather")
"""Real devices take indices of the CPU too."""

OURS = ("image_core", "osediff_video", "train/", "cli/")


class OnDevice(Tensor):
    """A tensor of the pretended device."""


class Stream:
    """A stream of the device: its copies are carried out when an event behind them is waited for."""

    def __init__(self, *_: Any) -> None:
        self.copies: list[Callable[[], Any]] = []
        self.follows = False

    def wait_stream(self, _: "Stream") -> None:
        self.follows = True

    def copy(self, target: Tensor, source: Tensor, done: Callable[[], Any]) -> None:
        """Remember a copy. Raises AssertionError where a real stream might read what is not there yet, or no more."""
        assert self is MAIN or self.follows, "copied without waiting for the stream that computes"
        self.follows = False
        target.view(torch.uint8).numpy().fill(0xAA)

        def carry_out() -> None:
            assert self is MAIN or self in getattr(source, "used_by", ()), "may be overwritten before it is copied"
            with torch._C.DisableTorchFunction():
                done()

        self.copies.append(carry_out)


MAIN = Stream()
CURRENT = threading.local()


class Event:
    """A place in a stream."""

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or current_stream()
        self.copies, stream.copies = stream.copies, []

    def synchronize(self) -> None:
        COUNTS["wait " + asker()] += 1
        while self.copies:
            self.copies.pop(0)()


def current_stream(*_: Any) -> Stream:
    return getattr(CURRENT, "stream", MAIN)


def record_stream(tensor: Tensor, stream: Stream) -> None:
    tensor.used_by = {*getattr(tensor, "used_by", ()), stream}  # type: ignore[attr-defined]


@contextlib.contextmanager
def use_stream(stream: Stream) -> Iterator[None]:
    before, CURRENT.stream = current_stream(), stream
    yield
    CURRENT.stream = before


class Pretended(TorchFunctionMode):
    """Route every call of torch: factories with device=, moves, and all operations on tensors of the device."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.device = kind, torch.device(kind, 0)
        self.limit: Callable[[str, tuple[Any, ...]], None] = lambda *_: None

    def here(self, device: Any) -> bool:
        """Return whether a device, by any of its names, is the pretended one. Raises as torch does for a second one."""
        if not isinstance(device, str | torch.device):
            return False
        place = torch.device(device)
        if place.type == self.kind and place.index not in (None, 0):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return place.type == self.kind

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
            return self.attribute(name, func, args)
        if name == "__set__":
            self.plain(func, args, kwargs)
            if getattr(getattr(func, "__self__", None), "__name__", "") == "data":  # how Module.to moves parameters
                kind = OnDevice if isinstance(args[1], OnDevice) else torch.nn.Parameter
                if type(args[0]) in (OnDevice, torch.nn.Parameter) and type(args[0]) is not kind:
                    args[0].__class__ = kind
                    if kind is OnDevice:
                        args[0]._is_param = True
            return None
        is_pinned = kwargs.pop("pin_memory", False)
        if is_pinned:
            assert self.kind == "cuda", "only memory for CUDA is pinned"
            result = self.plain(func, args, kwargs)
            result.is_pinned_here = True
            return result
        tensors = list(found(args)) + list(found(kwargs))
        present = [t for t in tensors if isinstance(t, OnDevice)]
        if present:
            THREADS.add(threading.get_ident())
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], Tensor):
            return self.moved(args[0], args[1:], kwargs, name, func)
        if not present:
            target = kwargs.get("device")
            if self.here(target):
                kwargs["device"] = "cpu"
                self.check(kwargs.get("dtype"))
                if tensors or name in ("tensor", "as_tensor"):
                    self.count("up")
                return wrapped(self.plain(func, args, kwargs))
            if target is not None or name != "copy_":
                return self.plain(func, args, kwargs)
        if name == "_has_compatible_shallow_copy_type":  # asked by Module.to: then it gives parameters new data
            return True
        if name == "numpy":
            raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first")
        if name in WAITS:
            self.count("down")
            return self.plain(func, args, kwargs)
        if name == "new_tensor":
            self.count("up")
        if name == "nonzero":
            COUNTS["wait " + asker()] += 1
        if self.here(kwargs.get("device")):
            kwargs["device"] = "cpu"
        elif kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu":
            return bare(self.plain(func, args, kwargs))
        if name == "copy_":
            if len(present) < len(tensors):
                up, host = isinstance(args[0], OnDevice), args[1 if isinstance(args[0], OnDevice) else 0]
                beside = (kwargs.get("non_blocking") or len(args) > 2) and hasattr(host, "is_pinned_here")
                self.count("up" if up else "down", not beside)
                if beside and not up:
                    current_stream().copy(args[0], args[1], functools.partial(self.plain, func, args[:2], {}))
                    return args[0]
            self.plain(func, args, kwargs)
            return args[0]
        strangers = [t for t in tensors if not isinstance(t, OnDevice) and t.dim() and t.device.type != "meta"]
        if strangers and name not in INDEXING:
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, "
                f"but found at least two devices, {self.device} and cpu!"
            )
        self.limit(name, tuple(tensors))
        self.check(kwargs.get("dtype"))
        if name == "double":
            self.check(torch.float64)
        result = self.plain(func, args, kwargs)
        if args and result is args[0]:
            return result
        return wrapped(result)

    def attribute(self, name: str, func: Callable[..., Any], args: Any) -> Any:
        """Return what a property of a tensor says."""
        if not (args and isinstance(args[0], OnDevice)):
            return self.plain(func, args, {})
        if name == "device":
            return self.device
        if name in ("is_cuda", "is_mps"):
            return name == f"is_{self.kind}"
        if name == "is_cpu":
            return False
        result = self.plain(func, args, {})
        return wrapped(result) if name in ("grad", "data", "mT", "T", "H", "mH", "real", "imag") else result

    def moved(self, tensor: Tensor, args: Any, kwargs: dict[str, Any], name: str, func: Callable[..., Any]) -> Any:
        """Carry out `to`, `cpu` and `cuda`, and count what crosses."""
        goal, dtype, flags = {"cpu": "cpu", "cuda": "cuda"}.get(name), kwargs.get("dtype"), []
        for one in args:
            if isinstance(one, str | torch.device):
                goal = str(one)
            elif isinstance(one, Tensor):
                goal, dtype = (self.kind if isinstance(one, OnDevice) else "cpu"), one.dtype
            elif isinstance(one, torch.dtype):
                dtype = one
            elif one is not None:
                flags.append(one)  # non_blocking, then copy
        goal = str(kwargs["device"]) if kwargs.get("device") is not None else goal
        if goal is not None and torch.device(goal).type == "meta":
            return self.plain(func, (tensor, *args), kwargs)
        was = isinstance(tensor, OnDevice)
        goes = was if goal is None else self.here(goal)
        if goes:
            self.check(dtype or tensor.dtype)
        if was != goes:
            beside = goes and (kwargs.get("non_blocking") or flags[:1] == [True]) and hasattr(tensor, "is_pinned_here")
            self.count("up" if goes else "down", not beside)
        copy = was != goes or bool(kwargs.get("copy")) or (len(flags) > 1 and flags[1])
        layout = kwargs.get("memory_format", torch.preserve_format)
        with torch._C.DisableTorchFunctionSubclass():
            result = tensor.to(dtype or tensor.dtype, copy=copy, memory_format=layout)
        if result is tensor:
            return tensor
        return wrapped(result) if goes else bare(result)

    def count(self, direction: str, waits: bool = True) -> None:
        COUNTS[f"{direction} {asker()}"] += 1
        COUNTS["wait " + asker()] += waits

    def check(self, *dtypes: torch.dtype | None) -> None:
        if self.kind == "mps" and torch.float64 in dtypes:
            raise TypeError("Cannot convert a MPS Tensor to float64: the MPS framework doesn't support float64.")

    def plain(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)


def found(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from found(one)
    elif isinstance(value, dict):
        yield from found(tuple(value.values()))


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(changed(one, change) for one in value))
    if isinstance(value, list | tuple):
        return type(value)(changed(one, change) for one in value)
    return value


def wrapped(value: Any) -> Any:
    """Put results on the device; keeps their place in the graph of gradients."""

    def put(tensor: Tensor) -> Tensor:
        there = isinstance(tensor, OnDevice) or tensor.device.type == "meta"
        return tensor if there else tensor.as_subclass(OnDevice)

    return changed(value, put)


def bare(value: Any) -> Any:
    """Take tensors off the device."""
    return changed(value, lambda t: t.as_subclass(Tensor))


def asker() -> str:
    """Name the innermost line of the project in the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if any(part in name for part in OURS) and "/tests/" not in name and "site-packages" not in name:
            return f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


class Memory:
    """What the device says of its memory."""

    free = total = 16 * GB


def replace(owner: Any, name: str, value: Callable[..., Any]) -> None:
    """Put a function into the place of another; torch looks for what it wraps."""
    setattr(owner, name, functools.wraps(getattr(owner, name))(value))


def install(kind: str) -> Pretended:
    """Make torch believe in one device of this kind, for the rest of the process."""
    mode = Pretended(kind)
    mine = kind == "cuda"
    for name, value in {
        "is_available": lambda: mine, "device_count": lambda: int(mine), "is_bf16_supported": lambda *_: mine,
        "mem_get_info": lambda *_: (Memory.free, Memory.total), "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0, "max_memory_allocated": lambda *_: 0, "empty_cache": lambda: None,
        "synchronize": lambda *_: None, "get_device_name": lambda *_: "a pretended card",
        "get_device_capability": lambda *_: (9, 0), "current_device": lambda: 0,
        "set_device": lambda *_: None, "current_stream": current_stream, "stream": use_stream,
    }.items():  # fmt: skip
        replace(torch.cuda, name, value)
    torch.cuda.Stream, torch.cuda.Event, Tensor.record_stream = Stream, Event, record_stream
    replace(torch.accelerator, "current_accelerator", lambda *_, **__: None)
    replace(torch.backends.mps, "is_available", lambda: kind == "mps")
    torch.mps.recommended_max_memory = lambda: Memory.total
    torch.mps.current_allocated_memory = lambda: Memory.total - Memory.free
    torch.mps.empty_cache = lambda: None
    torch.inference_mode = torch.no_grad
    real_autocast = torch.autocast

    def autocast(_: str, *args: Any, **kwargs: Any) -> contextlib.AbstractContextManager[Any]:
        return real_autocast("cpu", *args, **kwargs)

    torch.autocast = autocast
    mode.__enter__()
    run = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with mode:  # a mode holds for the thread that enters it
            run(thread)

    threading.Thread.run = run_there  # type: ignore[method-assign]
    return mode
