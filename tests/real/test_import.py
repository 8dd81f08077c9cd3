"""Images of other systems through the real data path, with what waits on a volume of its own."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import foreign  # noqa: E402
from realhost import run_host  # noqa: E402
from transfers import MIB, Client, pattern  # noqa: E402

host = pytest.fixture(scope="module")(run_host)


@pytest.mark.parametrize("form,turn", [("qcow2", lambda b: b), ("qcow2", foreign.backwards),
                                       ("vmdk", lambda b: b)])
def test_an_image(host, tmp_path, form, turn):
    web, x = Client(host, host.x), host.x
    content = bytearray(foreign.bootable(32 * MIB))
    content[8 * MIB:28 * MIB] = pattern("much", 20 * MIB)
    before, task = set(x.VDI.get_all()), web.task()
    image = turn(foreign.convert(tmp_path, bytes(content), form))
    assert web.put("/import", image, task_id=task, name_label="stranger")[0] == 200
    assert x.task.get_error_info(task) == []
    new = set(x.VDI.get_all()) - before
    assert len(new) == 1, "the scratch is gone"
    vdi = new.pop()
    assert web.get("/export_raw_vdi", vdi=vdi)[2] == content
    x.VM.destroy(x.VM.get_by_name_label("stranger")[0])
    x.VDI.destroy(vdi)
