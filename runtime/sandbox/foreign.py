"""As much of `ctypes` as system calls need.

It is the extension module underneath that does the work. Importing `ctypes` itself, with every C
type there is, takes as long as cloning a container, and each process on the way would pay it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        Structure,
        addressof,
        byref,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_uint,
        c_uint32,
        c_uint64,
        c_ulong,
        c_ushort,
        c_void_p,
        get_errno,
        sizeof,
    )
else:
    import _ctypes
    from _ctypes import Structure, addressof, byref, get_errno, sizeof

    class c_ushort(_ctypes._SimpleCData):
        _type_ = "H"

    class c_int(_ctypes._SimpleCData):
        _type_ = "i"

    class c_uint(_ctypes._SimpleCData):
        _type_ = "I"

    class c_long(_ctypes._SimpleCData):
        _type_ = "l"

    class c_ulong(_ctypes._SimpleCData):
        _type_ = "L"

    class c_ulonglong(_ctypes._SimpleCData):
        _type_ = "Q"

    class c_char_p(_ctypes._SimpleCData):
        _type_ = "z"

    class c_void_p(_ctypes._SimpleCData):
        _type_ = "P"

    c_uint32, c_uint64 = c_uint, c_ulonglong
    c_size_t = c_ulong

    class CDLL:
        """What is loaded into this process, the C library among it; attributes are functions."""

        _flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO

        def __init__(self, name, *, use_errno):
            self._handle = _ctypes.dlopen(name, 0)

            class Function(_ctypes.CFuncPtr):
                _flags_ = self._flags
                _restype_ = c_int

            self._function = Function

        def __getattr__(self, name):
            function = self._function((name, self))
            setattr(self, name, function)
            return function

    class PyDLL(CDLL):
        """The same; no other thread of Python's runs during a call."""

        _flags = CDLL._flags | _ctypes.FUNCFLAG_PYTHONAPI


__all__ = [
    "CDLL", "PyDLL", "Structure", "addressof", "byref", "c_char_p", "c_int", "c_long", "c_size_t",
    "c_uint", "c_uint32", "c_uint64", "c_ulong", "c_ushort", "c_void_p", "get_errno", "sizeof",
]  # fmt: skip
