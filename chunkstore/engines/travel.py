"""How a call gets to a worker: by value where its code is not there, and with an error that says what is missing there.

What is sent is text and bytes: an engine can hand them on whatever it pickles with, and a worker whose environment is
not the driver's can say so, instead of being lost to an error in the middle of the engine.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

#: Stands in what pickle makes of code that no other process can import.
_MAIN = b"__main__"


def dumped(value: Any) -> bytes:
    """Return a value pickled; by cloudpickle, if that is installed, what pickle refuses or what only this program has.

    Raises:
        Exception: whatever its pickling raises.
    """
    try:
        data = pickle.dumps(value)
    except Exception as error:
        if (by_value := _by_value()) is None:
            raise
        try:
            return by_value(value)
        except Exception:  # noqa: BLE001 - whatever it raises: the first error names what pickle could not send
            raise error from None
    if _MAIN in data and (by_value := _by_value()) is not None:
        return by_value(value)
    return data


def _by_value() -> Callable[[Any], bytes] | None:
    try:
        import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - most engines that run elsewhere have it
    except ImportError:
        return None
    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    return dumps


class Call:
    """Calls a function with arguments, both of them pickled.

    It is pickled as the text that follows, by any pickler and again by who has unpickled it: nothing of ours needs to
    be where it comes to.
    """

    __name__ = "run_branch"  # as engines show it

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> tuple[Any, ...]:
        # What is loaded already costs less than to read the text again.
        here = "__import__('sys').modules.get('chunkstore.engines.travel')"
        return eval, (f"getattr({here}, 'CALL', None) or (exec(text, globals()), Call(text))[1]", {"text": self._text})

    def __call__(self, data: bytes) -> Any:
        """Call the function."""
        import pickle  # noqa: PLC0415 - the text takes no names along

        try:
            function, arguments = pickle.loads(data)  # noqa: S301 - from the driver
        except Exception as error:
            import os  # noqa: PLC0415 - likewise
            import socket  # noqa: PLC0415 - likewise
            import sys  # noqa: PLC0415 - likewise

            raise ImportError(
                f"The worker on {socket.gethostname()} (process {os.getpid()}, {sys.executable}) cannot take a branch: "
                f"{type(error).__name__}: {error}. Install chunkstore there, with the packages and in the versions "
                "that the driver has."
            ) from error
        return function(*arguments)


CALL = Call(f"from __future__ import annotations\n{inspect.getsource(Call)}")
