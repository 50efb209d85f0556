"""The command ``plan``: what a run would cost, before anything of it runs."""
