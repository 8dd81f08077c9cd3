"""Settings of the machine: tools that only write down what they are told, and a folder for /etc."""
import os

import pytest

TOOL = """#!/bin/sh
echo "${0##*/} $*" >> "${0%/*}/calls"
if [ -e "${0%/*}/broken" ]; then echo "no, not today" >&2; exit 4; fi
"""


@pytest.fixture
def machine(privd):
    """The same program with a folder for its settings and one of tools."""
    privd.stop()
    privd.etc, privd.tools = os.path.join(privd.folder, "etc"), os.path.join(privd.folder, "tools")
    os.makedirs(privd.etc)
    os.makedirs(privd.tools)
    for name in ("hostnamectl", "timedatectl", "systemctl", "firewall-cmd"):
        path = os.path.join(privd.tools, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(TOOL)
        os.chmod(path, 0o755)
    privd.options = ("--etc-dir", privd.etc, "--tools-dir", privd.tools)
    privd.start()
    return privd


def calls(privd):
    path = os.path.join(privd.tools, "calls")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    os.unlink(path)
    return lines


def settings(privd):
    return sorted(os.path.relpath(os.path.join(d, f), privd.etc)
                  for d, _, files in os.walk(privd.etc) for f in files)


def read(privd, name):
    with open(os.path.join(privd.etc, name), encoding="utf-8") as f:
        return [line for line in f.read().splitlines() if not line.startswith("#")]


VERBS = [("set-hostname", {"name": "a"}), ("set-timezone", {"zone": "UTC"}),
         ("set-ntp", {"enabled": True, "servers": ""}), ("set-clock", {"seconds": 1}),
         ("set-ssh", {"state": "enabled"}), ("set-console-timeout", {"seconds": 1}),
         ("set-firewall", {"service": "ssh", "state": "enabled"}),
         ("set-syslog", {"server": "a"}), ("power", {"action": "reboot"})]


@pytest.mark.parametrize("verb,members", VERBS)
def test_not_ours_to_make_without_the_option(privd, verb, members):
    privd.refused(verb, "not Cairn's to make", **members)


@pytest.mark.parametrize("verb,members,told", [
    ("set-hostname", {"name": "host-7.example"}, "hostnamectl set-hostname -- host-7.example"),
    ("set-timezone", {"zone": "Europe/Berlin"}, "timedatectl set-timezone -- Europe/Berlin"),
    ("set-clock", {"seconds": 1700000000}, "timedatectl set-time -- @1700000000"),
    ("set-ssh", {"state": "enabled"}, "systemctl enable --now ssh.service"),
    ("set-ssh", {"state": "disabled"}, "systemctl disable --now ssh.service"),
    ("power", {"action": "poweroff"}, "systemctl poweroff --no-block"),
    ("power", {"action": "reboot"}, "systemctl reboot --no-block")])
def test_what_the_tools_are_told(machine, verb, members, told):
    assert machine.ask(verb, **members) == {"ok": True}
    assert calls(machine) == [told] and settings(machine) == []


def test_the_firewall(machine):
    assert machine.ask("set-firewall", service="ssh", state="disabled") == {"ok": True}
    assert machine.ask("set-firewall", service="https", state="enabled") == {"ok": True}
    assert calls(machine) == ["firewall-cmd --permanent --remove-service=ssh", "firewall-cmd --reload",
                              "firewall-cmd --permanent --add-service=https", "firewall-cmd --reload"]
    os.unlink(os.path.join(machine.tools, "firewall-cmd"))
    assert machine.ask("set-firewall", service="ssh", state="enabled") == {"ok": True}
    assert calls(machine) == []


def test_time_servers(machine):
    name = "systemd/timesyncd.conf.d/50-cairn.conf"
    assert machine.ask("set-ntp", enabled=True, servers="a.example 2001:db8::1") == {"ok": True}
    assert read(machine, name) == ["[Time]", "NTP=a.example 2001:db8::1", "FallbackNTP="]
    assert calls(machine) == ["timedatectl set-ntp true",
                              "systemctl try-restart systemd-timesyncd.service"]
    assert machine.ask("set-ntp", enabled=False, servers="") == {"ok": True}
    assert settings(machine) == [] and calls(machine) == ["timedatectl set-ntp false"]


def test_syslog_and_consoles(machine):
    assert machine.ask("set-syslog", server="log.example") == {"ok": True}
    assert read(machine, "rsyslog.d/50-cairn.conf") == ["*.* @log.example"]
    assert machine.ask("set-syslog", server="2001:db8::1") == {"ok": True}
    assert read(machine, "rsyslog.d/50-cairn.conf") == ["*.* @[2001:db8::1]"]
    assert calls(machine) == ["systemctl try-restart rsyslog.service"] * 2
    assert machine.ask("set-console-timeout", seconds=90) == {"ok": True}
    assert read(machine, "profile.d/cairn-console-timeout.sh")[0] == "TMOUT=90"
    assert machine.ask("set-syslog", server="") == {"ok": True}
    assert machine.ask("set-console-timeout", seconds=0) == {"ok": True}
    assert settings(machine) == []


@pytest.mark.parametrize("verb,members", [
    ("set-hostname", {"name": "-a"}), ("set-hostname", {"name": "a;b"}),
    ("set-timezone", {"zone": "../../etc/passwd\n"}), ("set-timezone", {"zone": "--help"}),
    ("set-ntp", {"enabled": True, "servers": "a\nb"}), ("set-clock", {"seconds": -1}),
    ("set-ssh", {"state": "on"}), ("set-firewall", {"service": "telnet", "state": "enabled"}),
    ("set-syslog", {"server": "a b"}),
    ("set-syslog", {"server": "a\n*.* /etc/passwd"}), ("set-console-timeout", {"seconds": -1}),
    ("power", {"action": "kexec"})])
def test_what_is_refused_before_any_tool_runs(machine, verb, members):
    assert machine.ask(verb, **members)["ok"] is False
    assert calls(machine) == [] and settings(machine) == []


def test_what_a_tool_complains_of_is_told(machine):
    with open(os.path.join(machine.tools, "broken"), "w", encoding="ascii"):
        pass
    machine.refused("set-hostname", "failed with 4: no, not today", name="a")
    machine.refused("set-ssh", "failed with 4", state="enabled")


def test_extensions_are_given_their_call(privd):
    privd.stop()
    folder = os.path.join(privd.folder, "extensions")
    os.makedirs(folder)
    path = os.path.join(folder, "Class.message")
    with open(path, "w", encoding="ascii") as f:
        f.write('#!/bin/sh\necho "$# $1 $(cat)"\n')
    os.chmod(path, 0o755)
    privd.options = ("--extensions-dir", folder)
    privd.start()
    answer = privd.ask("run-extension", extension="Class.message", input="the call")
    assert (answer["status"], answer["stdout"]) == (0, "1 --xmlrpc the call\n")
    privd.refused("run-extension", "there is no extension", extension="Class.other", input="")
    privd.refused("run-extension", "begin with none", extension="../socket", input="")
    os.chmod(path, 0o777)
    privd.refused("run-extension", "written by others", extension="Class.message", input="")
