"""Long work as an administrator sees it: how far it is, and how it is ended."""
import os
import subprocess
import time

from simhost import BUILD


def fault(daemon, *words):
    return subprocess.run([os.path.join(BUILD, "cairnctl"), "-s", os.path.join(daemon.folder, "run", "cairnd.ctl"),
                           "fault", *words], check=True, text=True, stdout=subprocess.PIPE, timeout=60).stdout


def test_a_start_is_watched_and_cancelled(daemon, xe, vm):
    """The start is held in the middle, so nothing here depends on timing."""
    env = {"PATH": "/usr/bin:/bin", "HOME": daemon.folder, "XE_EXTRA_ARGS": f"server={daemon.socket}"}
    fault(daemon, "hold", "VM.start/build guest/before")
    try:
        with subprocess.Popen([os.path.join(BUILD, "xe"), "vm-start", f"uuid={vm}", "--progress"], env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            end = time.monotonic() + 30
            while fault(daemon, "held") != "reached\n":
                assert time.monotonic() < end
            task = xe("task-list", "name-label=Async.VM.start", "--minimal")
            assert xe("task-param-get", f"uuid={task}", "param-name=allowed_operations") == "Cancel"
            assert 0 < float(xe("task-param-get", f"uuid={task}", "param-name=progress")) < 1
            assert xe("vm-param-get", f"uuid={vm}", "param-name=current-operations") == "start"
            said = xe.fails("vm-start", f"uuid={vm}")
            assert said.startswith("Another operation on the object is in progress.\n")
            assert "xe task-cancel uuid=<task>" in said
            xe("task-cancel", f"uuid={task}")
            out, err = p.communicate(timeout=60)
    finally:
        fault(daemon, "release")
    assert (p.returncode, out) == (1, "")
    assert "VM.start:   0 %" in err and "100 %" not in err
    assert err.endswith(f"%\nThe task was cancelled.\ntask: {task} (Async.VM.start)\n")
    assert xe("vm-param-get", f"uuid={vm}", "param-name=power-state") == "halted"
    assert xe("task-list", "status=pending", "--minimal") == ""
