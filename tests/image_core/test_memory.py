"""Plans of memory: for each size, whatever came before; shortages of every kind; limits of containers and shells."""

import ctypes
import sys
import threading

import numpy as np
import psutil
import pytest
import torch

from image_core.device.free_memory import free_ram, group_limits
from image_core.device.memory import Planner, Workload, give_back_heap, is_out_of_memory
from image_core.options import UpscaleOptions
from tests.image_core.test_upscale import Greedy
from tests.support.tiny_lite import sample_images, upscaler

CPU, OPTIONS = torch.device("cpu"), UpscaleOptions()
SMALL, LARGE = (200, 200), (2000, 3000)


@pytest.fixture
def million(monkeypatch):
    """Room for a million pixels."""
    monkeypatch.setattr("image_core.device.memory.free_bytes", lambda _: 10**9)
    return Planner(CPU, 600)


def test_every_size_has_a_plan_of_its_own_in_any_order(million, monkeypatch):
    first = [million.plan(size, OPTIONS) for size in (SMALL, LARGE)]
    other = Planner(CPU, 600)
    second = [other.plan(LARGE, OPTIONS)]
    monkeypatch.setattr("image_core.device.memory.free_bytes", lambda _: 10**7)  # the model has taken the rest by now
    second.insert(0, other.plan(SMALL, OPTIONS))
    assert first == second == [Workload(1, None), Workload(1, 1000)]


def test_a_step_down_lowers_every_later_plan_and_no_smaller_one(million):
    middle = (900, 1000)
    assert million.plan(middle, OPTIONS) == Workload(1, None)
    assert million.lower(middle, Workload(1, None)) == Workload(1, 496)
    assert million.plan(middle, OPTIONS) == million.plan(LARGE, OPTIONS) == Workload(1, 496)
    assert million.plan(SMALL, OPTIONS) == Workload(1, None)


def test_a_workload_that_a_job_began_with_is_kept(million):
    million.fix(LARGE, Workload(2, 512))
    assert million.plan(LARGE, OPTIONS) == Workload(2, 512)
    assert million.plan(SMALL, OPTIONS) == Workload(1, None)


def test_results_do_not_depend_on_the_order_of_files(generator, monkeypatch):
    monkeypatch.setattr(
        "image_core.device.memory.free_bytes", lambda _: 10**8
    )  # 100,000 pixels: the large one needs tiles
    small, large = sample_images(1, 24, 24)[0], sample_images(1, 100, 120)[0]
    results = []
    for order in ([small, large], [large, small]):
        model = upscaler(generator)
        results.append({image.shape: model([image])[0] for image in order})
        assert model.workload_for(400, 480).tile_px == 312 and model.workload_for(96, 96).tile_px is None
    assert all(np.array_equal(results[0][shape], results[1][shape]) for shape in results[0])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError("Unable to allocate 3 GiB"),
    ],
    ids=["cuda", "cpu", "mps", "cudnn", "numpy"],
)
def test_a_shortage_on_any_device_steps_down(generator, error):
    model, output = upscaler(generator, batch=4), []
    model.generator, model.report = Greedy(generator, 300 * 300, error), output.append
    results = model(sample_images(5, 100, 120))
    assert len(results) == 5 and len(output) == 3 and "out of memory" in output[0]


def test_a_real_shortage_of_the_cpu_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as numpy_s:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(numpy_s.value)


def test_other_errors_are_no_shortage(generator):
    model = upscaler(generator)
    model.generator = Greedy(generator, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        model(sample_images(1, 16, 16))


def test_threads_share_one_model_one_at_a_time(generator):
    """Two threads meet one shortage: the ladder is gone down once, and nobody works beside anybody."""
    model, busy, output = upscaler(generator, batch=4), [], []

    class Watched(Greedy):
        def encode(self, image):
            busy.append(threading.get_ident())
            result = super().encode(image)
            assert len(set(busy)) == 1
            busy.clear()
            return result

    model.generator, model.report = Watched(generator, 2 * 400 * 480), output.append
    expected = upscaler(generator, batch=2)(sample_images(4, 100, 120))
    results = {}

    def work(number):
        results[number] = model(sample_images(4, 100, 120))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    model.generator.encode = lambda image, encode=model.generator.encode: (busy.clear(), encode(image))[1]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert output == ["out of memory: going on with batches of 2, tiles None px"]
    for actual in results.values():
        assert all(np.array_equal(*pair) for pair in zip(actual, expected, strict=True))


def write(root, **files):
    for path, content in files.items():
        file = root / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_the_limit_of_a_container_counts(tmp_path):
    """Version 2: every group around us; cached files are given up; "max" is none."""
    base = "sys__fs__cgroup__"
    write(tmp_path, proc__self__cgroup="0::/box/inner\n")
    write(tmp_path, **{
        f"{base}box__memory.max": "1000000\n", f"{base}box__memory.current": "700000\n",
        f"{base}box__memory.stat": "anon 1\ninactive_file 100000\n",
        f"{base}box__inner__memory.max": "max\n", f"{base}box__inner__memory.current": "1\n",
    })  # fmt: skip
    assert group_limits(tmp_path) == [400_000] and free_ram(tmp_path) == 400_000


def test_the_limit_of_an_older_container_counts(tmp_path):
    base = "sys__fs__cgroup__memory__memory."
    write(tmp_path, proc__self__cgroup="5:cpu:/x\n3:memory:/docker/abc\n")
    write(tmp_path, **{f"{base}limit_in_bytes": "5000\n", f"{base}usage_in_bytes": "4000\n"})
    assert group_limits(tmp_path) == [1000]
    write(tmp_path, **{f"{base}limit_in_bytes": f"{(1 << 63) - 4096}\n"})
    assert group_limits(tmp_path) == []


def test_no_groups_are_no_limit(tmp_path):
    assert group_limits(tmp_path) == []


def test_the_limit_of_the_shell_counts(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    vms = psutil.Process().memory_info().vms
    try:
        resource.setrlimit(resource.RLIMIT_AS, (vms + 500_000_000, hard))
        assert 0 < free_ram(tmp_path) <= 500_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_model_too_large_for_the_device_is_one_line(tiny_bundle, monkeypatch):
    from image_core.errors import OutOfMemoryError
    from image_core.models import load

    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(load, "build_generator", short)
    with pytest.raises(OutOfMemoryError, match=r"the model tiny does not fit in the memory of cpu \(.* GB free\)"):
        load.load_upscaler(tiny_bundle, OPTIONS, device=CPU, dtype=torch.float32)


def test_a_tagger_without_room_is_said(tiny_bundle):
    from image_core.errors import OutOfMemoryError
    from image_core.prompts.embedding import Prompts
    from image_core.prompts.prompter import Prompter

    class Large(torch.nn.Module):
        """Has no room but on the CPU; here it is already there, unless it pretends not to be."""

        def __init__(self, kind):
            super().__init__()
            self.label_embed = torch.nn.Parameter(torch.zeros(1, device=kind))

        def to(self, device):
            self.label_embed = torch.nn.Parameter(torch.zeros(1, device=device))

        def tags(self, image):
            if self.label_embed.device.type != "cpu" or self.label_embed.item():
                raise torch.OutOfMemoryError("no room")
            return [["cat"]] * len(image)

    output, image = [], torch.zeros(2, 3, 64, 64)
    prompts = Prompts(tiny_bundle, report=output.append)
    assert Prompter(prompts, Large("meta"), "").tags(image) == [["cat"], ["cat"]]
    assert output == ["out of memory: the tagger runs on the CPU from here on"]
    stuck = Large("cpu")
    stuck.label_embed.data.fill_(1)
    with pytest.raises(OutOfMemoryError, match="the tagger does not fit"):
        Prompter(prompts, stuck, "").tags(image)


def test_a_prompt_of_ones_own_does_not_keep_the_text_encoder(tiny_bundle, monkeypatch, tmp_path):
    from image_core.models.load import load_upscaler

    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    model = load_upscaler(tiny_bundle, UpscaleOptions(prompt="a new prompt"), device=CPU, dtype=torch.float32)
    assert model.prompts.encoder is None


def test_what_torch_keeps_for_later_counts_as_free(monkeypatch):
    from image_core.device.free_memory import free_bytes

    for name, value in (("mem_get_info", (10, 100)), ("memory_reserved", 50), ("memory_allocated", 30)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert free_bytes(torch.device("cuda")) == 10 + 50 - 30


@pytest.mark.parametrize("tile_px", [None, 256])
def test_progress_goes_from_nothing_to_all(generator, tile_px):
    model, shares = upscaler(generator, tile_px=tile_px), []
    model.progress = shares.append
    model(sample_images(1, 100, 120))
    assert shares == sorted(shares) and shares[-1] == 1 and shares[0] > 0
    assert len(shares) == (2 if tile_px is None else 2 * 6)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library"
)
def test_holes_between_what_lives_long_go_back_to_the_system():
    """Every other block of 100 MB is freed: too small for pages of their own, and never at the end of a heap."""
    blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]
    del blocks[::2]
    before = psutil.Process().memory_info().rss
    give_back_heap()
    assert before - psutil.Process().memory_info().rss > 35_000_000
    assert all(block.all() for block in blocks)
