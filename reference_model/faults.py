"""Where a model went wrong: the module, the line of whoever wrote it, the operation and the shapes that it got.

Read off the traceback afterwards, so a run that goes well pays nothing for it.
"""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import msgspec

from flopledger.reference_model.names import said, working_directory

_ROOMS = [str(Path(__file__).parent.parent / room) for room in ("reference_model", "counters", "reports", "flopledger")]
_STANDARD = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
_PACKAGES = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
_GENERATED = "<eval_with_key>"  # what torch.fx calls code of its own
# In the text of errors from scripted and from compiled code, whose frames are none of Python's.
_QUOTED = re.compile(r'File "([^"\n]+)", line (\d+), in (\w+)')
_SCRIPTED, _COMPILED = "The following operation failed in the TorchScript interpreter", "from user code:"
_LONGEST = 100  # characters of a line of code, of which there is more to see in the file
# Errors of what is written, whatever goes in; where a torch operation raises one, it is about what it got.
_OF_THE_CODE = (AttributeError, NameError, ImportError, LookupError, NotImplementedError, ArithmeticError, SyntaxError)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One error of a model: `said` is its own text; the others are "" where nobody knows, or there is nothing to say.

    `module` is the innermost one that ran, with its class: `blocks.5.c2 (Conv2d)`. `place` is the file and line, the
    function and the code there. `operation` is what torch was asked for: `conv2d got input 1×16×8×8, weight 8×4×3×3`.
    `of_the_code` is an error that has nothing to do with what goes in.
    """

    said: str
    module: str = ""
    place: str = ""
    operation: str = ""
    of_the_code: bool = False

    def told(self, rejecting: str, failing: str) -> str:
        """At most three lines, of which the first begins with what happened to whom."""
        what = " in ".join(filter(None, [failing if self.of_the_code else rejecting, self.module]))
        first = f"{what}: {self.said}" if what else self.said
        return "\n".join(filter(None, [first, self.place, self.operation]))


def fault_of(
    error: BaseException,
    names: Mapping[int, str] = {},
    called: Callable[[FrameType], str] = lambda frame: "",
) -> Fault:
    """What an error's traceback tells. `names` are those of the modules, by `id`; `called` says of a frame which
    operation it is, "" where it is none."""
    module = operation = ""
    backward, own, foreign = False, None, None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_call_impl" and id(running := frame.f_locals.get("self")) in names:
            name = _one_line(names[id(running)])
            module = f"{name} ({type(running).__name__})" if name else ""
        elif frame.f_code.co_name == "run_backward":
            module, backward = "its backward", True
        if found := called(frame):
            operation = found
        elif _is_somebodys(frame.f_code.co_filename):
            operation, foreign = "", (frame, line)
            own = foreign if _is_own(frame.f_code.co_filename) else own
    text, quoted = words_of(error), _quoted(error)
    place = quoted or next((_place(*at) for at in (own, foreign) if at is not None), "")
    code = backward or (isinstance(error, _OF_THE_CODE) and not operation)
    if isinstance(error, _OF_THE_CODE) and not text.startswith(type(error).__name__):
        text = said(error)
    return Fault(said=text, module=module, place=place, operation=operation, of_the_code=code)


def below(error: BaseException) -> str:
    """The line of somebody's own code that raised an error, as a line to be put below it; "" where there is none."""
    found = [at for at in traceback.walk_tb(error.__traceback__) if _is_own(at[0].f_code.co_filename)]
    return f"\n{_place(*found[-1])}" if found else ""


def words_of(error: BaseException) -> str:
    """The line of an error that says something, with its type where the text alone would not."""
    lines = [line.strip() for line in _text(error).splitlines() if line.strip()]
    if lines and lines[0].startswith(_SCRIPTED):
        lines = [line for line in lines[-1:] if not line.endswith("Error:")] or ["an error in scripted code"]
    first, *more = lines or [""]
    while more and first.count("(") > first.count(")"):  # a tensor is printed in many lines
        first = f"{first} {more.pop(0)}"
    return first if len(first) > 12 else f"{type(error).__name__}: {first}".rstrip(": ")


def _quoted(error: BaseException) -> str:
    """The place that an error names itself, where it comes from scripted or compiled code."""
    text = _text(error)
    found = _QUOTED.findall(text) if _SCRIPTED in text or _COMPILED in text else []
    own = [each for each in found if _is_somebodys(each[0])]
    return _written(*own[-1]) if own else ""


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # some cannot even say what they are
        return "(its own message raised an error)"


def _place(frame: FrameType, line: int) -> str:
    return _written(frame.f_code.co_filename, line, frame.f_code.co_qualname)


def _written(file: str, line: int | str, function: str) -> str:
    """`net.py:14, in Net.forward: x = self.c2(x)`."""
    here = f"{working_directory()}/"
    code = linecache.getline(file, int(line)).strip()
    code = f"{code[: _LONGEST - 1]}…" if len(code) > _LONGEST else code
    said = f"{file.removeprefix(here)}:{line}, in {function.replace('<locals>.', '')}"
    return _one_line(f"{said}: {code}" if code else said)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_somebodys(file: str) -> bool:
    """Whether a file is none of torch's, of Python's or of ours."""
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    inner = [*_ROOMS, *([str(Path(torch).parent)] if torch else [])]
    if file.startswith(("<frozen", _GENERATED)) or _is_below(file, inner):
        return False
    return _is_below(file, _PACKAGES) or not _is_below(file, _STANDARD)


def _is_own(file: str) -> bool:
    """Whether a file is somebody's own, and no installed package's."""
    return _is_somebodys(file) and not _is_below(file, _PACKAGES)


def _is_below(file: str, folders: list[str]) -> bool:
    return file.startswith(tuple(f"{folder}/" for folder in folders))
