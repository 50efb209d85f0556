"""Settings of every test."""

import torch

# The networks here are tiny: a second thread costs more than it computes, most of all on a busy machine.
torch.set_num_threads(1)
