# %% [markdown]
# # Several findings per image
#
# A chest X-ray has several findings, or none. A small network is trained on drawn images that stand for them: a network
# with one output per finding, each read by a sigmoid, and labels of which some are unknown. Then `evaluate` explains
# every finding that is present in an image, and scores its map against the mask of this finding.

# %%
import torch
from torch import nn

from bench import evaluate

FINDINGS = ("opacity", "nodule", "effusion")
SIDES, WHITE = (14, 6, 16), (0.25, 0.5, 0.35)

draw = torch.Generator().manual_seed(0)
images = torch.rand(120, 3, 48, 48, generator=draw) * 0.4
labels = torch.rand(120, 3, generator=draw).lt(0.4).float()
masks = {name: torch.zeros(120, 48, 48, dtype=torch.bool) for name in FINDINGS}
for image in range(120):
    for finding in labels[image].nonzero().flatten().tolist():
        side = SIDES[finding]
        row, column = torch.randint(0, 48 - side, (2,), generator=draw).tolist()
        row = 48 - 6 if finding == 2 else min(row, 28)  # an effusion is flat, and at the base
        masks[FINDINGS[finding]][image, row : row + side, column : column + side] = True
        images[image][:, row : row + side, column : column + side] += WHITE[finding]
images = images.clamp(max=1)
patients = [f"patient {image // 2}" for image in range(120)]

# %% [markdown]
# Training with binary cross-entropy, without the labels that are unknown. (In a run of the benchmark, `folder:PATH`
# with a `labels.csv` does this for black boxes and SoftCAM alike.)

# %%
known = torch.rand(80, 3, generator=draw) > 0.1
torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
)
optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(60):
    optimiser.zero_grad()
    losses = nn.functional.binary_cross_entropy_with_logits(model(images[:80]), labels[:80], reduction="none")
    (losses * known).sum().div(known.sum()).backward()
    optimiser.step()

# %% [markdown]
# The evaluation. Labels are (N,F), with 1 for present, 0 for absent, and -1 or nan for unknown; there is one mask per
# image and finding. Each row of the scores is a pair of image and finding, and patients are the clusters of all
# statistics. Deletion is measured on the probability of the finding.

# %%
result = evaluate(
    model,
    images[80:],
    {name: some[80:] for name, some in masks.items()},
    labels[80:],
    explainers=["softcam", "gradcam", "layercam"],
    metrics=["activation_precision", "topk_precision", "pixel_auroc", "audc@zero", "false_alarm_area"],
    groups=patients[80:],
    mean=0,
    std=1,
    explain={"steps": 10, "faithful": 24},
)
print(result)

# %%
scores = result.scores
scores[scores["metric"] == "pixel_auroc"].groupby(["finding", "explainer"])["value"].mean().unstack().round(3)

# %%
print(result.verdict("softcam", "gradcam", metric="pixel_auroc"))

# %%
result.plot.gallery(4)

# %% [markdown]
# `result.save("results/mine")` writes the tables by finding, their means over findings (`macro`), figures and page.
