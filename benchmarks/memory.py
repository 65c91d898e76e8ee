"""How much memory a call needs beyond what is resident before it (Linux)."""

import gc


def peak_mib(function):
    """MiB by which the peak of this process during function() passes what was resident before."""
    gc.collect()
    # What came before peaked higher than it is: 5 sets the kernel's high-water mark back to what is resident now.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(field):
    """KiB of a field of this process's /proc status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))
