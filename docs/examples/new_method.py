# %% [markdown]
# # A new method against the known ones
#
# A method that you have an idea for is an `Explainer` of a few lines. `evaluate` compares it with known methods and
# with controls: a score says something only next to that of random maps and of the masks themselves.

# %%
import torch
from torch import nn

from bench import Explainer, evaluate

draw = torch.Generator().manual_seed(0)
images = torch.rand(112, 3, 48, 48, generator=draw) * 0.6
labels = torch.arange(112) % 2  # every second image holds a lesion
masks = torch.zeros(112, 48, 48, dtype=torch.bool)
for index in range(1, 112, 2):
    row, column = torch.randint(0, 38, (2,), generator=draw).tolist()
    masks[index, row : row + 10, column : column + 10] = True
    images[index][:, masks[index]] += 0.3

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
)
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(60):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(images[:64]), labels[:64]).backward()
    optimiser.step()

# %% [markdown]
# The method: how much the target's logit changes if a pixel's neighbourhood is blurred, to first order. It states its
# facts (name, family, whether maps have a sign) and returns raw maps.


# %%
class BlurGradient(Explainer):
    """Gradient of the target's logit times the difference between the image and a blurred one."""

    name, family, signed, paper = "blur_gradient", "post-hoc", True, ""

    def __init__(self, width: int = 9) -> None:
        self.width = width

    def explain(self, classifier, images, targets):
        """Images (N,3,H,W), targets (N,) -> maps (N,H,W)."""
        blurred = nn.functional.avg_pool2d(images, self.width, 1, self.width // 2, count_include_pad=False)
        read = images.clone().requires_grad_()
        logits = classifier(read).gather(1, targets.unsqueeze(1))
        (gradient,) = torch.autograd.grad(logits.sum(), read)
        return (gradient * (images - blurred)).sum(dim=1)


# %%
result = evaluate(
    *(model.eval(), images[64:], masks[64:], labels[64:]),
    explainers=[BlurGradient(), "inputxgradient", "saliency", "gradcam"],
    metrics=["topk_precision", "pixel_auroc", "audc@zero", "audc@blur"],
    mean=0,
    std=1,
    explain={"steps": 10},
)
print(result)

# %% [markdown]
# Is it better than what it resembles, and than chance? "Without evidence" is an answer, too.

# %%
for other in ("inputxgradient", "gradcam", "random"):
    print(result.verdict("blur_gradient", other, metric="pixel_auroc"))

# %%
result.plot.topk()

# %% [markdown]
# As a plugin file with `register_explainer`, it is in every table of a run: `--plugins my_method.py`.
