"""Telling the program's exceptions from our own.

Recording never raises; but a signal handler of the program's runs between any two bytecodes, ours
included, and what it raises (a timeout, which is even an OSError) is meant for the program.
"""


def is_foreign(error: BaseException) -> bool:
    """Whether a signal handler raised it: the innermost frame is not this package's.

    Nothing that recording calls in other modules raises, but where memory or stack are gone.
    """
    if isinstance(error, (MemoryError, RecursionError)):
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and step.tb_frame.f_globals.get("__package__") != __package__
