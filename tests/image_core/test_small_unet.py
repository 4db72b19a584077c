"""The UNet in plain torch against diffusers': the same settings, keys and bits."""

import inspect
import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from image_core.architecture import SMALL_UNET_DEFAULTS, build_small_unet
from image_core.models.catalogue import EMBEDDED
from image_core.small_unet import is_small
from image_core.storage.tensors import fill

TINY = {
    "in_channels": 8, "out_channels": 8, "block_out_channels": [16, 32, 48], "down_block_types": ["DownBlock2D"] * 3,
    "up_block_types": ["UpBlock2D"] * 3, "layers_per_block": 2, "norm_num_groups": 8, "attention_head_dim": 4,
    "cross_attention_dim": 12,
}  # fmt: skip


def of_bundle(name):
    folder = EMBEDDED / name
    return json.loads((folder / "unet.json").read_text()), load_file(folder / "unet.safetensors")


def random_weights():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**TINY)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return TINY, unet.state_dict()


CASES = {
    "random": random_weights,
    "lite": lambda: of_bundle("lite"),
    "lite-faithful": lambda: of_bundle("lite-faithful"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_it_equals_diffusers_bit_for_bit(case, dtype):
    settings, weights = CASES[case]()
    assert is_small(settings)
    theirs, ours = UNet2DConditionModel(**settings), build_small_unet(settings, "here", len(weights))
    theirs.load_state_dict(weights)
    fill(ours, weights, "here")  # every key is in both
    theirs, ours = (unet.to(dtype, memory_format=torch.channels_last).eval() for unet in (theirs, ours))
    for batch, height, width in ((1, 24, 40), (2, 13, 9)):  # the second is odd on every level
        latent = torch.randn(batch, settings["in_channels"], height, width, dtype=dtype)
        text = torch.randn(1, 5, settings["cross_attention_dim"], dtype=dtype).expand(batch, -1, -1)
        with torch.inference_mode():
            assert torch.equal(ours(latent, 280, text).sample, theirs(latent, 280, text).sample)


def test_its_settings_have_the_defaults_of_diffusers():
    theirs = {name: p.default for name, p in inspect.signature(UNet2DConditionModel).parameters.items()}
    for name in ("down_block_types", "up_block_types"):  # always given
        theirs.pop(name)
    ours = {name: value for name, value in SMALL_UNET_DEFAULTS.items() if name in theirs}
    assert ours == {name: theirs[name] for name in ours}
    assert all(theirs[name] in (None, False) for name in theirs.keys() - ours.keys())


@pytest.mark.parametrize(
    "change",
    [
        {"use_linear_projection": True},
        {"down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"]},
        {"down_block_types": [["DownBlock2D"]]},
        {"dropout": 0.1},
        {"layers_per_block": [1, 2, 1]},
        {"attention_head_dim": [4, 4, 4]},
    ],
)
def test_other_shapes_are_left_to_diffusers(change):
    assert is_small(TINY) and not is_small(TINY | change)
