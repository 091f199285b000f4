"""Read what `torch.save` pickles: descriptions of tensors, and where their numbers lie.

A pickle may name any function of any module and have it called, and a few bytes of it can fill the
memory. The unpickler here knows the opcodes and names of state dicts and nothing else: others end
the reading. What it makes takes no more memory than a fixed multiple of the pickle.
"""

import pickle
from typing import Any, NamedTuple

# NumPy has no bfloat16: it is the upper half of a float32, and is read as an integer first.
_STORAGES = {
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "DoubleStorage": "f8",
    "LongStorage": "i8",
}
# What torch.save has needed, in protocols 1 to 5: in 0, whose lists and texts have opcodes of their
# own, the reference to a storage cannot be written. INST is here so that its name is refused as
# others are.
_OPCODES = """
PROTO FRAME STOP MARK INST GLOBAL STACK_GLOBAL REDUCE BINPERSID NONE NEWTRUE NEWFALSE
INT BININT BININT1 BININT2 LONG LONG1 LONG4 BINFLOAT BINSTRING SHORT_BINSTRING
BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT
BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
_ALLOWED = {getattr(pickle, name)[0] for name in _OPCODES.split()}
_ONLY = (
    "which is refused: only tensors of float32, float16, bfloat16, float64 and int64 are read; "
    "save torch.save(network.state_dict(), FILE) instead."
)


class Refused(Exception):
    """The end of a sentence that begins with the file's path."""


class Storage(NamedTuple):
    """Numbers that one tensor has or several share."""

    key: str
    dtype: str  # of NumPy


class Tensor(NamedTuple):
    """Where numbers lie in a storage, in units of its elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage):
        raise TypeError
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_):
    return tensor


def _ordered_dict(pairs=None):
    """Empty, or of a list of pairs, as Python 2 pickled it."""
    made: dict[str | int, Any] = {}
    if pairs:
        _set_items(made, [item for key, value in pairs for item in (key, value)])
        pairs.clear()  # or a thousand dictionaries could be made of one long list
    return made


def _set_items(made, items):
    """Set keys that hash at once: of tuples in tuples, the hash can overflow the stack of C."""
    if not isinstance(made, dict):
        raise TypeError
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (str, int)):
            raise Refused(f"holds a dictionary with a {type(key).__name__} as key, {_ONLY}")
        made[key] = value


def _line(file):
    line = file.readline()
    if not line.endswith(b"\n"):  # half a name, which would be refused as another
        raise EOFError
    return line


def _refuse(_):
    raise Refused(f"holds an object, a set or the like, {_ONLY}")


_KNOWN = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,  # torch < 0.4
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): name for name in _STORAGES},
}


_PickleUnpickler: Any = pickle._Unpickler  # whose inner attributes mypy does not know


class Unpickler(_PickleUnpickler):
    """Makes dictionaries, lists, numbers, texts and `Tensor`; imports and calls nothing else.

    The one in Python: that in C takes memory for a memo as long as the highest index in the file.
    """

    def __init__(self, file):
        super().__init__(file)
        self._file_readline = lambda: _line(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise Refused(f"holds {module}.{name}, {_ONLY}")

    def persistent_load(self, pid):
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or any(view):
            raise Refused("holds a storage that is not read; save it again with torch >= 1.6.")
        if not (isinstance(dtype, str) and isinstance(key, str)):
            raise TypeError
        self.storages[key] = Storage(key, _STORAGES[dtype])
        return self.storages[key]

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    def load_setitems(self):
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    def load_build(self):
        """Leave out the attribute `_metadata` of a state dict: no attribute of anything is set."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise TypeError

    dispatch = {
        **{c: load if c in _ALLOWED else _refuse for c, load in _PickleUnpickler.dispatch.items()},
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BUILD[0]: load_build,
    }
