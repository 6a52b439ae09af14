"""The one exception that stands for a caller's mistake."""


class UsageError(ValueError):
    """A request that cannot be met, and that the caller can put right.

    Its message is one line that says what was wrong, where, and what to do. The command line prints that
    line and exits with 2; any other exception is a defect of this package and keeps its traceback.
    """
