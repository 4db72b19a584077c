"""Choose what runs: the model, the device and the precision that names stand for. Nothing is loaded."""

from collections.abc import Callable
from dataclasses import dataclass

from image_core.bundle import Bundle
from image_core.device.choice import AUTOENCODER_NAMES, DTYPE_NAMES, choose_device_name, choose_engine, choose_precision
from image_core.models.catalogue import find_model
from image_core.options import INT8_FILE, Engine, Precision


@dataclass(frozen=True)
class Choice:
    """Hold what runs. device: torch's name of it, such as cpu or cuda:0. precision: fp32, fp16, bf16 or mixed.

    engine: torch, openvino or openvino-int8, whose precision is that of what is not convolution.
    """

    bundle: Bundle
    device: str
    precision: Precision
    engine: Engine = "torch"

    def __str__(self) -> str:
        """Say which model runs, and where, in a sentence."""
        config = self.bundle.config
        summary = config.card.get("summary", "")
        engine = " through OpenVINO" if self.engine.startswith("openvino") else ""
        numbers = "int8" if self.engine == "openvino-int8" else DTYPE_NAMES[self.precision]
        if self.precision == "mixed":
            numbers += f" (its autoencoder in {AUTOENCODER_NAMES[self.precision]})"
        return f"{config.name} on {self.device} in {numbers}{engine}. {summary}".strip()


def choose_model(
    model: str,
    device: str = "auto",
    precision: Precision = "auto",
    report: Callable[[str], None] = lambda _: None,
    engine: Engine = "auto",
    fast: bool = False,
) -> Choice:
    """Return what these names stand for; nothing is loaded.

    fast: it will run without its UNet.
    report: called with a sentence for each better model that "auto" passes over because it is damaged.
    Raises ModelNotFoundError or CheckpointError.
    """
    bundle, place = find_model(str(model), report), choose_device_name(device)
    if engine == "openvino-int8" and precision == "auto":
        precision = "fp32"  # of the little that is not convolution: conversions to bfloat16 cost more than they spare
    chosen = choose_precision(precision, place, bundle.config.alpha_bar)
    covered, has_ranges = bundle.config.autoencoder == "lite", bundle.holds(INT8_FILE)
    return Choice(bundle, place, chosen, choose_engine(engine, place, chosen, covered, has_ranges, fast))
