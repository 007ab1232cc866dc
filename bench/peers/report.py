"""One JSON line per step, as `weir bench peers` reads it."""

import json
import resource
import sys


def peak_memory_gb():
    """Largest resident memory of this process so far, in units of 1e9 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def report(step, warmup, **figures):
    """`warmup` is true where the step is not to be counted."""
    line = {"step": step, "warmup": warmup, **figures, "max_rss_gb": peak_memory_gb()}
    print(json.dumps(line), flush=True)
