"""Telling the program's exceptions from our own.

Recording never raises; but a signal handler of the program's runs between any two bytecodes, ours
included, and what it raises (a timeout, which is even an OSError) is meant for the program.
"""


def is_foreign(error: BaseException, library: str = "") -> bool:
    """Whether a signal handler raised it: the innermost frame is not this package's.

    Nothing that recording calls in other modules raises, but where memory or stack are gone; what
    is called in `library` may.
    """
    if isinstance(error, (MemoryError, RecursionError)):
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    package = step.tb_frame.f_globals.get("__package__") if step is not None else __package__
    return package != __package__ and not (library and str(package).split(".")[0] == library)
