"""Arrays and tables have one hash however they lie in memory."""

import math
import pickle

import numpy as np
import pandas as pd

from recording.test_argument_hashes import hash_of


def test_an_array_has_one_hash_however_it_lies_in_memory():
    plain = np.arange(24.0).reshape(2, 3, 4)
    plain[0, 0, 0] = math.nan
    for other in (np.asfortranarray(plain), plain[:, :, ::-1][:, :, ::-1], np.stack([plain, plain])[1], plain.copy()):
        assert hash_of(other) == hash_of(plain)


def test_padding_in_a_structured_array_does_not_matter():
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    arrays = [np.frombuffer(bytes([fill]) * dtype.itemsize, dtype).copy() for fill in (0, 255)]
    for one in arrays:
        one["a"], one["b"] = 1, 2.0
    assert hash_of(arrays[0]) == hash_of(arrays[1])


def test_a_table_has_one_hash_in_whatever_blocks_its_columns_lie():
    at_once = pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": pd.Categorical(["x", "y"])})
    in_turn = pd.DataFrame({"a": [1, 2]})
    in_turn["b"] = [3, 4]
    in_turn["c"] = pd.Categorical(["x", "y"])
    assert hash_of(at_once) == hash_of(in_turn) == hash_of(pickle.loads(pickle.dumps(in_turn)))
    others = [at_once[["b", "a", "c"]], at_once.rename(columns={"a": "d"}), at_once.set_index("a", drop=False)]
    others += [at_once.astype({"a": "float64"}), at_once.assign(c=["x", "y"]), at_once.replace(4, 5)]
    assert len({hash_of(other) for other in (at_once, *others)}) == 7


def test_what_lies_under_a_mask_does_not_matter():
    one, other = (np.ma.array([1, under], mask=[False, True]) for under in (2, 3))
    assert hash_of(one) == hash_of(other) == hash_of(pickle.loads(pickle.dumps(one)))
    assert hash_of(one) != hash_of(np.ma.array([1, 2], mask=[False, False])) != hash_of(np.array([1, 2]))
