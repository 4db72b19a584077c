"""Name the licences of what published models are made of."""

BASE_LICENCES = {
    768: "Stable Diffusion 1.x: CreativeML Open RAIL-M",
    1024: "Stable Diffusion 2.1-base: CreativeML Open RAIL++-M",
}
"""By the width of the text that the base reads."""

LICENCE = f"OSEDiff weights: Apache-2.0; {BASE_LICENCES[1024]}"
TAGGER_LICENCE = "; RAM and DAPE: Apache-2.0"
TINY_LICENCE = "; tiny decoder: see its own licence"
