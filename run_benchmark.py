"""Comparison of inherent with post-hoc visual explanations: ``python run_benchmark.py --datasets all``."""

from bench.cli import main as cli


def register() -> None:
    """Registers all heads, explainers, backbones, data sets, metrics and studies of this repository."""
    import baselines  # noqa: F401 (importing registers, here and below)
    import softcam  # noqa: F401
    from bench import data, metrics, studies  # noqa: F401
    from bench.models import backbones, timm_backbones  # noqa: F401


def main() -> None:
    """Runs the command line."""
    cli.main(register)


if __name__ == "__main__":
    main()
