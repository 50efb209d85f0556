# %% [markdown]
# # Your own model in five lines
#
# A small network is trained on squares that stand for lesions, as a substitute for a model and images of your own. Then
# `evaluate` explains it, scores the maps against the masks, and says which of two maps is better.

# %%
import torch
from torch import nn

from bench import evaluate

draw = torch.Generator().manual_seed(0)
images = torch.rand(96, 3, 48, 48, generator=draw) * 0.6
labels = torch.arange(96) % 2  # every second image holds a lesion
masks = torch.zeros(96, 48, 48, dtype=torch.bool)
for index in range(1, 96, 2):
    row, column = torch.randint(0, 38, (2,), generator=draw).tolist()
    masks[index, row : row + 10, column : column + 10] = True
    images[index][:, masks[index]] += 0.3

# %%
torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
)
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(60):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(images[:64]), labels[:64]).backward()
    optimiser.step()

# %% [markdown]
# The evaluation. `softcam` is the own map of the model: its head is global average pooling and one linear layer, so
# that its evidence can be shown without training (the head `tte`). A function of yours is an explainer too.


# %%
def brightness(model, images, targets):
    """Maps (N,H,W): the brightness of each pixel, whatever the model does."""
    return images.mean(dim=1)


result = evaluate(
    *(model, images[64:], masks[64:], labels[64:]),
    explainers=["softcam", "gradcam", "layercam", brightness],
    metrics=["activation_precision", "topk_precision", "pixel_auroc", "audc@zero"],
    mean=0,
    std=1,
    explain={"steps": 10},
)
print(result)

# %%
for first, second in [("softcam", "gradcam"), ("gradcam", "brightness"), ("gradcam", "random")]:
    print(result.verdict(first, second, metric="pixel_auroc"))

# %%
result.scores.groupby(["metric", "explainer"])["value"].mean().unstack().round(3)

# %%
result.plot.gallery(4)

# %%
result.plot.topk()

# %% [markdown]
# `result.save("results/mine")` writes the tables, figures and page of a run.
