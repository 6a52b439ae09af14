"""The one exception that stands for a caller's mistake, and how foreign errors are quoted in it."""


class UsageError(ValueError):
    """A request that cannot be met, and that the caller can put right.

    Its message is one line that says what was wrong, where, and what to do. The command line prints that
    line and exits with 2; any other exception is a defect of this package and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """What another library says, brought down to one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
