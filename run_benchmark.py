"""Compare inherent with post-hoc visual explanations: ``python run_benchmark.py --datasets all``."""

from bench.cli import main as cli


def register() -> None:
    """Make all of this repository known by name: heads, explainers, backbones, data sets, metrics and probes."""
    import baselines  # noqa: F401 (as the next two: importing registers)
    import softcam  # noqa: F401
    from bench import data, metrics, studies  # noqa: F401
    from bench.models import backbones, timm_backbones  # noqa: F401


def main() -> None:
    """The command line."""
    cli.main(register)


if __name__ == "__main__":
    main()
