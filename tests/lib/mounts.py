"""What kind of file system a folder is on."""
import os


def is_in_memory(folder):
    """Files in memory are no matter of the page cache."""
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        mounts = [line.split() for line in f]
    above = [m for m in mounts if (os.path.realpath(folder) + "/").startswith(m[4].rstrip("/") + "/")]
    there = max(above, key=lambda m: len(m[4]))
    return there[there.index("-") + 1] == "tmpfs"
