"""Scopes as decorators, for plain, generator, async and async generator functions.

A generator is in its scope only while its own body runs, not while it is suspended and its
consumer works; every resumption is an activation.
"""

import functools
import inspect
from typing import Any, AsyncGenerator, Callable, ContextManager, Generator

Fresh = Callable[[], ContextManager[Any]]  # makes a new activation


def decorate(function: Callable[..., Any], fresh: Fresh) -> Callable[..., Any]:
    """`function`, with its body inside a scope."""
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return await function(*args, **kwargs)

    elif inspect.isasyncgenfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return _drive_async(function(*args, **kwargs), fresh)

    elif inspect.isgeneratorfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return (yield from _drive(function(*args, **kwargs), fresh))

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)

    return functools.wraps(function)(wrapper)


def _drive(body: Generator[Any, Any, Any], fresh: Fresh) -> Generator[Any, Any, Any]:
    """Passes values and exceptions to `body` and back, entering the scope for each step."""
    resume: Callable[[Any], Any] = body.send
    value: Any = None
    while True:
        try:
            with fresh():
                item = resume(value)
        except StopIteration as stop:
            return stop.value
        try:
            resume, value = body.send, (yield item)
        except GeneratorExit:
            with fresh():
                body.close()
            raise
        except BaseException as error:
            resume, value = body.throw, error


async def _drive_async(
    body: AsyncGenerator[Any, Any], fresh: Fresh
) -> AsyncGenerator[Any, Any]:
    """The same for an async generator."""
    resume: Callable[[Any], Any] = body.asend
    value: Any = None
    while True:
        try:
            with fresh():
                item = await resume(value)
        except StopAsyncIteration:
            return
        try:
            resume, value = body.asend, (yield item)
        except GeneratorExit:
            with fresh():
                await body.aclose()
            raise
        except BaseException as error:
            resume, value = body.athrow, error
