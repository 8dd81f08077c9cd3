"""The bash completion, as a shell would ask for it."""
import os
import subprocess

import pytest

from simhost import BUILD

ASK = r"""
source "$1"
compopt() { :; }
COMP_LINE=$2 COMP_POINT=${#2} COMPREPLY=()
_xe
printf '%s\n' "${COMPREPLY[@]}"
"""


def complete(xe, line):
    env = {"PATH": f"{BUILD}:/usr/bin:/bin", "XE_EXTRA_ARGS": f"server={xe.daemon.socket}"}
    done = subprocess.run(["bash", "-c", ASK, "ask", os.path.join(BUILD, "src", "cli", "xe"), line], env=env,
                          check=True, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("line, offered", [
    ("xe vm-sta", ["vm-start"]),
    ("xe vm-start ", ["force=", "on=", "paused=", "vm="]),
    ("xe vm-list power", ["power-state="]),
    ("xe help vm-param-s", ["vm-param-set"]),
    ("xe vm-install template=Other", [r"Other\ install\ media"]),
    ("xe sr-scan uuid=no-such", [""]),
    ("xe vm-param-get param-name=other-c", ["other-config"]),
    ("xe vm-group-param-get param-name=plac", ["placement"]),
    ("xe host-list params=iscsi", ["iscsi_iqn"]),
    ("xe event-wait class=pool", ["pool"]),
    ("xe vm-uninstall force=t", ["true"]),
    ("xe vm-start --mul", ["--multiple"]),
    ("xe vmss-create sched", ["schedule:"]),
])
def test_offers(xe, line, offered):
    assert complete(xe, line) == offered


def test_offers_the_uuids_of_the_class(xe, vm):
    assert vm in complete(xe, "xe vm-param-get uuid=")
