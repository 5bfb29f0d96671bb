"""What buffers and arrays consist of, without a copy of them: their shape, and a hash of what they hold."""

from __future__ import annotations

import array
import hashlib
import pickle
import sys
from typing import Any

from chunkstore.recording.identity.parts import Parts, UnknownValueError
from chunkstore.recording.identity.scalars import framed

#: So much of an array is looked at for values that are not numbers at once.
_BLOCK = 1 << 17


def _label(kind: bytes, *facts: Any) -> bytes:
    return framed(kind, repr(facts).encode(errors="backslashreplace"))


def buffer_parts(value: Any) -> Parts | None:
    """Return what a value consists of that is memory and no more; None for any other."""
    kind = type(value)
    if kind is bytearray:
        return Parts(_label(b"y") + hashlib.sha256(value).digest())
    if kind is array.array:
        return Parts(_label(b"a", value.typecode) + hashlib.sha256(value).digest())
    if kind is memoryview:
        data = value if value.c_contiguous else value.tobytes()
        return Parts(_label(b"m", value.format, value.shape) + hashlib.sha256(data).digest())
    if kind is pickle.PickleBuffer:
        try:
            return Parts(_label(b"p") + hashlib.sha256(value.raw()).digest())
        except BufferError:
            return Parts(_label(b"p") + hashlib.sha256(bytes(value)).digest())
    return None


def numpy_parts(value: Any) -> Parts | None:
    """Return what an array or a scalar of numpy consists of; None for any other value."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    kind = type(value)
    try:
        is_array, is_scalar = kind in (numpy.ndarray, numpy.memmap), issubclass(kind, numpy.generic)
    except AttributeError:
        return None  # it is being imported
    if is_array:
        return _array_parts(numpy, value)
    if is_scalar and kind.__module__ == "numpy" and value.dtype.names is None and not value.dtype.hasobject:
        return Parts(_label(b"z", kind.__name__, value.dtype.str) + _hash_of(numpy, numpy.asarray(value)))
    if isinstance(value, numpy.dtype) and value.names is None and value.subdtype is None and not value.metadata:
        return Parts(_label(b"d", type(value).__module__, value.str, str(value)))
    return None


def masked_parts(value: Any) -> Parts | None:
    """Return what a masked array of numpy consists of; None for any other value."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is None or type(value) is not masked:
        return None
    # What lies under the mask means nothing, and pickling changes it.
    return Parts(_label(b"M"), [value.filled(), sys.modules["numpy"].ma.getmaskarray(value), value.fill_value])


def pandas_parts(value: Any) -> Parts | None:
    """Return what a table of pandas consists of, in whatever blocks its columns lie; None for any other value."""
    pandas = sys.modules.get("pandas")
    if type(value) is not getattr(pandas, "DataFrame", None):
        return None
    numpy = sys.modules["numpy"]
    columns = [column.values if isinstance(column.dtype, numpy.dtype) else column.array for _, column in value.items()]
    return Parts(_label(b"T"), [value.columns, value.index, columns, dict(value.attrs)])


def _array_parts(numpy: Any, value: Any) -> Parts:
    dtype = value.dtype
    if dtype.names is not None:  # field by field: what lies between them may be anything
        fields = [part for name in dtype.names for part in (name, value[name])]
        return Parts(_label(b"r", dtype.str, value.shape), fields)
    if dtype.hasobject:
        return Parts(_label(b"o", value.shape), value.reshape(-1).tolist())
    if type(dtype).__module__.partition(".")[0] != "numpy":
        raise UnknownValueError(f"arrays of {dtype} are not known")
    return Parts(_label(b"A", str(dtype), dtype.str, value.shape) + _hash_of(numpy, value))


def _hash_of(numpy: Any, value: Any) -> bytes:
    """Return a hash of numbers in the order of their indices, all that are not a number being the same."""
    digest = hashlib.sha256()
    if value.dtype.char in "gG":  # there are bytes in them that mean nothing
        digest.update("\n".join(map(repr, value.reshape(-1).tolist())).encode())
        return digest.digest()
    may_be_nan = value.dtype.kind in "fc"
    if value.flags.c_contiguous:
        flat = value.reshape(-1)
        if not may_be_nan:
            digest.update(flat.view(numpy.uint8) if flat.size else b"")
            return digest.digest()
        blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    else:
        flags = ["external_loop", "buffered", "zerosize_ok"]
        blocks = numpy.nditer(value, flags=flags, order="C", buffersize=_BLOCK)
    for block in blocks:
        if may_be_nan and numpy.isnan(block).any():
            digest.update(_with_one_nan(numpy, block))
        else:
            digest.update(block.tobytes() if not block.flags.c_contiguous else memoryview(block.view(numpy.uint8)))
    return digest.digest()


def _with_one_nan(numpy: Any, block: Any) -> bytes:
    numbers = numpy.array(block, order="C")
    if numbers.dtype.kind == "c":
        numbers = numbers.view(numbers.real.dtype)
    numbers[numpy.isnan(numbers)] = numpy.nan
    return bytes(numbers.tobytes())
