"""What the scripts here have in common: checks, each printed as a line, and how many of them failed.

A script adds its functions with `check`, each of which gets the script's peer and raises when something
is not as it should be, and runs them all with `run`. Knows no service and no channel.
"""

import sys
import traceback

import grpc

PATIENCE_SECONDS = 20

CHECKS = []


def check(function):
    """Adds a function to the checks; its docstring is the line that is printed."""
    CHECKS.append(function)
    return function


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: got {actual!r}, expected {expected!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def run(peer):
    failed = 0
    for function in CHECKS:
        try:
            function(peer)
        except Exception as error:  # a check that cannot run has failed, whatever the reason
            failed += 1
            print(f"FAIL  {function.__doc__}", flush=True)
            if isinstance(error, (AssertionError, grpc.RpcError)):
                print(f"      {str(error).strip()}", flush=True)
            else:
                traceback.print_exc(file=sys.stdout)
        else:
            print(f"ok    {function.__doc__}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed", flush=True)
    return failed
