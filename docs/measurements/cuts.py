"""The table of docs/backbones.md: which models of torchvision and timm are cut and converted, and how exactly.

    python docs/measurements/cuts.py                      # measures all models and writes the table (a few minutes)
    python docs/measurements/cuts.py resnet18 timm:volo_d1_224   # prints some rows

Weights are random and batch norms have seen noise; nothing is downloaded.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from bench.models.feature_extraction import split_classifier
from softcam import convert

PAGE = Path(__file__).resolve().parents[1] / "backbones.md"
START, END = "<!-- measured by docs/measurements/cuts.py -->", "<!-- end of the measured table -->"
SIDE = 224
TORCHVISION = """
alexnet vgg11_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 densenet121 efficientnet_b0 efficientnet_v2_s
mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet0_5 shufflenet_v2_x0_5 regnet_x_400mf regnet_y_400mf
squeezenet1_1 googlenet inception_v3 convnext_tiny swin_t swin_v2_t maxvit_t vit_b_16
"""
TIMM = """
resnet26d resnetv2_18 seresnext26d_32x4d ecaresnet26t resnest14d regnetx_002 efficientnet_lite0 tf_efficientnetv2_b0
mobilenetv3_small_050 mobilenetv4_conv_small ghostnet_050 hardcorenas_a dla34 hrnet_w18_small repvgg_a0 rexnet_100
ese_vovnet19b_dw vgg11 convnext_atto convnextv2_atto mambaout_femto efficientvit_b0 fastvit_t8 mobilevit_xxs
poolformer_s12 swin_tiny_patch4_window7_224 vit_tiny_patch16_224 vit_medium_patch16_gap_256
deit_tiny_distilled_patch16_224 pit_ti_224
"""


def create(name: str) -> nn.Module:
    """The model with random weights and batch norms that have seen noise, in eval mode."""
    torch.manual_seed(0)
    library, _, inner = name.rpartition(":")
    if library:
        import timm

        model = timm.create_model(inner, num_classes=10, **({"img_size": SIDE} if "gap_256" in inner else {}))
    else:
        import torchvision

        options = {"init_weights": False} if inner in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(inner, num_classes=10, **options)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        model(torch.randn(2, 3, SIDE, SIDE))
    return model.eval()


def row(name: str) -> str:
    """One line of the table: grid, share of the weights, and the error of the conversion or the reason against it."""
    model = create(name)
    try:
        parts = split_classifier(model, SIDE)
    except ValueError as error:
        return f"| `{name}` | – | – | refused | {error} |"
    grid, kept = "×".join(map(str, parts.shape[2:])), f"{parts.weights[0] / parts.weights[1]:.0%}"
    try:
        converted = convert(model, SIDE)
    except ValueError:
        return f"| `{name}` | {grid} | {kept} | trained only | {parts.not_linear or parts.fixed_last} |"
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(images)
        error = (converted(images) - expected).abs().max() / expected.abs().max()
    return f"| `{name}` | {grid} | {kept} | exact | {error.item():.0e} |"


def table(names: list[str]) -> str:
    """The table of these models."""
    lines = ["| model | grid | weights kept | `convert` | relative error, or the reason |", "|---|---|---|---|---|"]
    for name in names:
        lines.append(row(name))
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    warnings.simplefilter("ignore")
    names = sys.argv[1:]
    if names:
        table(names)
        return
    measured = table([*TORCHVISION.split(), *(f"timm:{name}" for name in TIMM.split())])
    before, rest = PAGE.read_text(encoding="utf-8").split(START)  # only now: someone may have edited the page
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{START}\n\n{measured}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
