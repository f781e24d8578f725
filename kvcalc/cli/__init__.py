"""The command line: parse, call one function, write one result. Nothing is computed or formatted here."""

import gc
import io
import os
import sys

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins of pydantic reads every installed package
gc.set_threshold(100_000)  # start-up makes many objects that live: collecting among them costs a tenth of a short command


def main() -> None:
    """Run `kvcalc`. Exit codes: 0 done or yes; 1 the answer is no; 2 a usage error, an unknown name, a bad unit or file."""
    from kvcalc.cli import commands
    from kvcalc.cli.options import app
    from kvcalc.errors import KvcalcError, Unmet

    commands.load()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed by the caller: nowhere to write
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except KvcalcError as error:
        _complain(error.message, error.hint)
        code = 1 if isinstance(error, Unmet) else 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _complain(f"cannot write the answer: {error.strerror or error}", None)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 2
    except (KeyboardInterrupt, EOFError):
        code = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        words = str(getattr(getattr(error, "ctx", None), "command_path", "")).split()
        _complain(error.format_message(), f"see `{' '.join(['kvcalc', *words[-1:]]) if len(words) > 1 else 'kvcalc'} --help`")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, hint: str | None) -> None:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
