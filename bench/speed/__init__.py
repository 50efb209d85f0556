"""How fast is this on the reader's own machine? Measured beside bare forward passes and other libraries, in one run."""
