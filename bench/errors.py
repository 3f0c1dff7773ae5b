"""What may end a benchmark early."""


class BenchError(Exception):
    """A benchmark cannot go on; the text says why and, where known, what to do."""


class MissingToolError(BenchError):
    """A program that the benchmark needs is not installed."""


class WrongAnswerError(BenchError):
    """A server answered something else than the workload needs: its figure would mean nothing."""
