"""Tables and figures of each study, under the names of ``bench.studies``."""
