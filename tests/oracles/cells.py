"""Averages over the cells of a feature map written out: each point of the image belongs to the nearest centre."""

import numpy as np

PARTS = 8  # of a pixel's side: borders between cells are at multiples of 1/8


def average(image, grid, start, stride):
    """One image (H,W) -> (h,w): the mean over the parts of pixels that are nearest to the centre of each cell."""
    image = np.asarray(image, dtype=np.float64)
    owner = []
    for side, cells, first, step in zip(image.shape, grid, start, stride, strict=True):
        centres = [first + index * step for index in range(cells)]
        places = [(part + 0.5) / PARTS for part in range(side * PARTS)]
        owner.append([min(range(cells), key=lambda index: abs(place - centres[index])) for place in places])
    total, count = np.zeros(grid), np.zeros(grid)
    for y, row in enumerate(owner[0]):
        for x, column in enumerate(owner[1]):
            total[row, column] += image[y // PARTS, x // PARTS]
            count[row, column] += 1
    return total / np.maximum(count, 1)
