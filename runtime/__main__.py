"""``python -m runtime up|down|demo|status|docs|lock``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from dam.errors import DamError
from runtime.stack import Stack


def _up(stack: Stack) -> int:
    started = time.monotonic()
    stack.start(say=_say)
    _say(f"Up after {time.monotonic() - started:.0f} s: {stack.url}  (DAM: {stack.url}/dam/)")
    _say("Log-ins:")
    passwords = stack.passwords()
    for person in stack.workflow.people.values():
        roles = ", ".join(role.replace("_", " ") for role in person.roles)
        _say(f"  {person.username:<8} {passwords.get(person.username, '?'):<18} {person.name}, {roles}")
    _say("Stop it with: make down")
    return 0


def _down(stack: Stack) -> int:
    stack.stop()
    _say("Stopped. Nothing is lost: make up starts it again.")
    return 0


def _demo(stack: Stack) -> int:
    from runtime.demo import play

    # no nightly DAG comes between the demo's own runs: it tells the same at any hour
    play(replace(stack, extra_env=stack.extra_env | {"DAM_SCHEDULES": "off"}), say=_say)
    stack.start(say=lambda _: None)
    return 0


def _status(stack: Stack) -> int:
    for name in stack.names:
        _say(f"{name:<14} {'up' if stack.process(name) else 'down'}")
    return 0


def _docs(_: Stack) -> int:
    from runtime.docs import write

    _say(f"Wrote {write()}")
    return 0


def _lock(_: Stack) -> int:
    from runtime.lock import compile_lock

    _say(f"Wrote {compile_lock()}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


COMMANDS = {"up": _up, "down": _down, "demo": _demo, "status": _status, "docs": _docs, "lock": _lock}


def main() -> int:
    """Run one command; a known error is told in plain words, without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m runtime", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    try:
        return COMMANDS[parser.parse_args().command](Stack.from_env())
    except DamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What is running stays up: make down stops it.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
