"""Operations of a development host, stopped in the middle."""
import os
import subprocess
import time

from simhost import BUILD


def ctl(house, *words):
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "-s",
                           os.path.join(house.folder, "run", "cairnd.ctl"), *words],
                          check=True, text=True, stdout=subprocess.PIPE, timeout=60).stdout


class Held:
    """Operations stop at a point as long as the block runs."""

    def __init__(self, house, point):
        self.house, self.point = house, point

    def begin(self):
        ctl(self.house, "fault", "hold", self.point)

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *_):
        ctl(self.house, "fault", "release")

    def wait(self):
        end = time.monotonic() + 30
        while ctl(self.house, "fault", "held") != "reached\n":
            assert time.monotonic() < end, self.point
            time.sleep(0.01)
