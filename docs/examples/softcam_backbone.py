# %% [markdown]
# # SoftCAM on your own backbone
#
# A SoftCAM has the layers of your network up to its last feature map, and a class evidence layer instead of its head:
# the mean of the evidence is the prediction. It is trained like any classifier, here with a penalty that makes the
# evidence sparse. Drawn images stand for your own.

# %%
import torch
from torch import nn

from bench import evaluate
from softcam import ElasticNet, SoftCAM

draw = torch.Generator().manual_seed(0)
images = torch.rand(128, 3, 48, 48, generator=draw) * 0.6
labels = torch.arange(128) % 2  # every second image holds a lesion
masks = torch.zeros(128, 48, 48, dtype=torch.bool)
for index in range(1, 128, 2):
    row, column = torch.randint(0, 38, (2,), generator=draw).tolist()
    masks[index, row : row + 10, column : column + 10] = True
    images[index][:, masks[index]] += 0.3

# %% [markdown]
# Any network that ends in a feature map and a head will do. `from_classifier` keeps the former and measures that
# nothing else is lost.

# %%
torch.manual_seed(0)
network = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
)
model, penalty = SoftCAM.from_classifier(network, 2, image_size=48), ElasticNet(l1=1e-4)

# %%
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(80):
    optimiser.zero_grad()
    logits, evidence = model.forward_training(images[:96])
    (nn.functional.cross_entropy(logits, labels[:96]) + penalty(evidence)).backward()
    optimiser.step()

# %% [markdown]
# `softcam` is the own map: its mean is what the model predicts, so that the metric `evidence_gap` is 0 up to rounding.
# The others explain the same network afterwards.

# %%
result = evaluate(
    *(model.eval(), images[96:], masks[96:], labels[96:]),
    explainers=["softcam", "gradcam", "integrated_gradients"],
    metrics=["activation_precision", "topk_precision", "pixel_auroc", "audc@zero", "evidence_gap"],
    mean=0,
    std=1,
    explain={"steps": 10},
)
print(result)

# %%
print(result.verdict("softcam", "integrated_gradients", metric="pixel_auroc"))

# %%
result.plot.gallery(4)
