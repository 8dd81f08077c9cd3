"""Commands, output and exit codes of xe, as scripts rely on them."""
import re

import pytest

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


# ---- listing ----

def test_list_layout(xe, vm):
    seen = xe.run("vm-list", f"uuid={vm}")
    assert (seen.status, seen.err) == (0, "")
    assert seen.out == (f"uuid ( RO)           : {vm}\n"
                        "     name-label ( RW): guest of a test\n"
                        "    power-state ( RO): halted\n\n\n")


def test_minimal_is_one_line_with_commas(xe, vm):
    assert xe("vm-list", f"uuid={vm}", "minimal=true") == vm
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm
    names = xe("template-list", "params=name-label", "--minimal").split(",")
    assert "Other install media" in names and len(names) > 40


def test_no_match_is_empty_but_fine(xe):
    seen = xe.run("vm-list", "name-label=there is none")
    assert (seen.status, seen.out, seen.err) == (0, "", "")
    assert xe.run("vm-list", "name-label=there is none", "--minimal").out == "\n"


def test_columns_keep_the_records_order(xe, vm):
    out = xe("vm-list", f"uuid={vm}", "params=power-state,name-label")
    assert re.findall(r"^ *([a-zA-Z-]+) \(", out, re.M) == ["name-label", "power-state"]


def test_params_all_shows_everything_but_what_is_expensive(xe, vm):
    out = xe("vm-list", f"uuid={vm}", "params=all")
    assert "memory-target ( RO): <expensive field>" in out
    assert "platform (MRW): " in out and "allowed-operations (SRO): " in out
    assert re.search(r"\n +ha-always-run \( RW\) \[DEPRECATED\]: false\n", out)


def test_every_family_lists_and_shows(xe):
    names = xe("help", "--all", "--minimal").split(",")
    families = [n[:-5] for n in names if n.endswith("-list") and f"{n[:-5]}-param-list" in names]
    assert len(families) == 55
    for f in families:
        uuids = xe(f"{f}-list", "--minimal", "params=uuid")
        xe(f"{f}-list", "params=all")
        for uuid in [u for u in uuids.split(",") if u][:2]:
            assert uuid in xe(f"{f}-param-list", f"uuid={uuid}")


def test_the_first_start_left_its_objects(xe):
    assert xe("sr-list", "name-label=Local storage", "--minimal") == xe("pool-list", "params=default-SR",
                                                                       "--minimal")
    assert xe("vm-list", "is-control-domain=true", "params=dom-id", "--minimal") == "0"
    for name in ("DVD drives", "Removable storage", "ISO library"):
        assert re.fullmatch(UUID, xe("sr-list", f"name-label={name}", "--minimal"))


# ---- filters ----

def test_filters_reach_into_maps_and_sets(xe, vm):
    xe("vm-param-add", f"uuid={vm}", "param-name=tags", "param-key=one, two")
    xe("vm-param-set", f"uuid={vm}", "other-config:colour=green")
    assert xe("vm-list", "tags:contains=one, two", "--minimal") == vm
    assert xe("vm-list", "other-config:colour=green", "--minimal") == vm
    assert xe("vm-list", "other-config:colour=red", "--minimal") == ""


def test_unknown_fields_and_other_databases_are_refused(xe):
    assert xe.fails("vm-list", "no-such=1") == "Error: Unknown field 'no-such'\n"
    assert "not supported" in xe.fails("vm-list", "database:vdi-uuid=1")


# ---- fields ----

def test_param_get_set_clear(xe, vm):
    get = ("vm-param-get", f"uuid={vm}")
    xe("vm-param-set", f"uuid={vm}", "name-description=a, b", "VCPUs-params:weight=256")
    assert xe(*get, "param-name=name-description") == "a, b"
    assert xe(*get, "param-name=name-description", "--minimal") == "a\\, b"
    assert xe(*get, "param-name=VCPUs-params") == "weight: 256"
    assert xe(*get, "param-name=VCPUs-params", "param-key=weight") == "256"
    xe("vm-param-remove", f"uuid={vm}", "param-name=VCPUs-params", "param-key=weight")
    xe("vm-param-clear", f"uuid={vm}", "param-name=name-description")
    assert xe(*get, "param-name=VCPUs-params") == ""
    assert xe(*get, "param-name=name-description") == ""
    assert xe(*get, "param-name=affinity") == "<not in database>"
    assert xe(*get, "param-name=is-a-template") == "false"


def test_references_are_set_by_uuid(xe, vm):
    sr = xe("sr-list", "name-label=Local storage", "--minimal")
    xe("vm-param-set", f"uuid={vm}", f"suspend-SR-uuid={sr}")
    assert xe("vm-param-get", f"uuid={vm}", "param-name=suspend-SR-uuid") == sr


@pytest.mark.parametrize("words, said", [
    (["vm-param-get", "uuid=nonsense", "param-name=uuid"],
     "The uuid you supplied was invalid.\ntype: VM\nuuid: nonsense\n"),
    (["vm-param-get", "param-name=uuid"], "Required parameter not found: uuid\nFor usage run: 'xe help'\n"),
    (["vm-fly"], "Unknown command: vm-fly\nFor usage run: 'xe help'\n"),
    (["vm-list", "loose"], "Syntax error: 'loose' is not of the form name=value\nFor usage run: 'xe help'\n"),
    (["vm-start", "vm=nobody"], "Error: No matching VMs found\n"),
    (["vm-install", "template=nothing", "new-name-label=x"], "Error: No templates matched\n"),
])
def test_what_is_wrong_is_said(xe, words, said):
    assert xe.fails(*words) == said


def test_read_only_and_wrongly_typed_fields(xe, vm):
    assert xe.fails("vm-param-set", f"uuid={vm}", "power-state=running") == (
        "Error: Field 'power-state' is read-only.\n")
    assert xe.fails("vm-param-set", f"uuid={vm}", "VCPUs-max=many") == (
        "Error: Parameter VCPUs-max must be an integer\n")
    assert xe.fails("vm-param-get", f"uuid={vm}", "param-name=other-config", "param-key=k") == (
        "Error: Key k not found in map\n")


# ---- the life of a VM ----

def state(xe, vm):
    return xe("vm-param-get", f"uuid={vm}", "param-name=power-state")


def test_a_life(xe, vm):
    for command, then in (("vm-start", "running"), ("vm-pause", "paused"), ("vm-unpause", "running"),
                          ("vm-suspend", "suspended"), ("vm-resume", "running"), ("vm-reboot", "running"),
                          ("vm-shutdown", "halted")):
        xe(command, f"vm={vm}")
        assert state(xe, vm) == then
    xe("vm-start", f"uuid={vm}", "paused=true")
    assert state(xe, vm) == "paused"
    xe("vm-shutdown", f"uuid={vm}", "force=true")
    assert state(xe, vm) == "halted"


def test_wrong_state_is_a_sentence_and_its_parameters(xe, running):
    said = xe.fails("vm-start", f"uuid={running}").splitlines()
    assert said[0].startswith("You attempted an operation on a VM that was not in an appropriate power state")
    assert said[1] == f"vm: {running} (guest of a test)"
    assert [line.split(": ")[0] for line in said[2:]] == ["expected", "actual"]


def test_selectors_need_multiple_for_several(xe, vm):
    other = xe("vm-clone", f"uuid={vm}", "new-name-label=guest of a test")
    try:
        assert "--multiple" in xe.fails("vm-start", "name-label=guest of a test")
        xe("vm-start", "name-label=guest of a test", "--multiple")
        assert (state(xe, vm), state(xe, other)) == ("running", "running")
        xe("vm-shutdown", "name-label=guest of a test", "--multiple", "--force")
    finally:
        xe.run("vm-uninstall", f"uuid={other}", "--force")


def test_install_by_every_name_of_a_template(xe):
    template = xe("template-list", "name-label=Other install media", "--minimal")
    for word in (f"template-uuid={template}", "template-name=Other install media",
                 "template-name-label=Other install media", f"template={template}"):
        vm = xe("vm-install", word, "new-name-label=installed")
        assert re.fullmatch(UUID, vm) and state(xe, vm) == "halted"
        xe.run("vm-uninstall", f"uuid={vm}", "force=true")
    assert "'template-uuid', 'template-name'" in xe.fails("vm-install", "new-name-label=x")


def test_install_with_storage_puts_disks_and_suspend_image_there(xe):
    sr = xe("sr-list", "name-label=Local storage", "--minimal")
    vm = xe("vm-install", "template=Debian Bookworm 12", "new-name-label=with disks", f"sr-uuid={sr}")
    assert xe("vm-param-get", f"uuid={vm}", "param-name=suspend-SR-uuid") == sr
    vdi = xe("vbd-list", f"vm-uuid={vm}", "type=Disk", "params=vdi-uuid", "--minimal")
    assert xe("vdi-param-get", f"uuid={vdi}", "param-name=sr-uuid") == sr
    lost = xe("vm-uninstall", f"uuid={vm}", "force=true")
    assert f"VM : {vm} (with disks)" in lost and f"VDI: {vdi} (" in lost
    assert xe("vdi-list", f"uuid={vdi}", "--minimal") == ""


def test_install_without_any_storage_names_both_parameters(xe):
    pool = xe("pool-list", "--minimal")
    sr = xe("pool-param-get", f"uuid={pool}", "param-name=default-SR")
    xe("pool-param-set", f"uuid={pool}", "default-SR=")
    try:
        before = xe("vm-list", "--minimal")
        said = xe.fails("vm-install", "template=Debian Bookworm 12", "new-name-label=x")
        assert "sr-name-label" in said and "sr-uuid" in said
        assert xe("vm-list", "--minimal") == before
    finally:
        xe("pool-param-set", f"uuid={pool}", f"default-SR={sr}")


def test_uninstall_without_a_terminal_wants_force(xe, vm):
    seen = xe.run("vm-uninstall", f"uuid={vm}", stdin=b"yes\n")
    assert seen.status == 1 and "force=true" in seen.err
    assert xe("vm-list", f"uuid={vm}", "--minimal") == vm


# ---- disks and CDs ----

def test_disks_come_and_go(xe, vm):
    xe("vm-disk-add", f"uuid={vm}", "disk-size=16MiB", "device=1")
    listed = xe("vm-disk-list", f"uuid={vm}")
    assert listed.startswith("Disk 0 VBD:\nuuid ( RO)             : ")
    assert "    vm-name-label ( RO): guest of a test\n       userdevice ( RW): 1\n" in listed
    vdi = re.search(rf"Disk 0 VDI:\nuuid \( RO\)             : ({UUID})\n", listed).group(1)
    assert xe("vdi-param-get", f"uuid={vdi}", "param-name=virtual-size") == str(16 << 20)
    xe("vm-disk-remove", f"uuid={vm}", "device=1")
    assert xe("vm-disk-list", f"uuid={vm}") == ""
    assert xe("vdi-list", f"uuid={vdi}", "--minimal") == ""


def test_vdi_vbd_and_vif_by_hand(xe, vm):
    sr = xe("sr-list", "name-label=Local storage", "--minimal")
    vdi = xe("vdi-create", f"sr-uuid={sr}", "name-label=by hand", "virtual-size=8MiB", "type=user")
    vbd = xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=2", "mode=ro")
    assert xe("vbd-param-get", f"uuid={vbd}", "param-name=mode") == "RO"
    assert xe("vbd-param-get", f"uuid={vbd}", "param-name=vdi-name-label") == "by hand"
    xe("vbd-destroy", f"uuid={vbd}")
    xe("vdi-resize", f"uuid={vdi}", "disk-size=16MiB")
    assert xe("vdi-param-get", f"uuid={vdi}", "param-name=virtual-size") == str(16 << 20)
    xe("vdi-destroy", f"uuid={vdi}")
    assert "Empty VBDs" in xe.fails("vbd-create", f"vm-uuid={vm}", "device=2")


def test_cd_drives(xe, vm):
    assert "CD 0 VBD:" in xe("vm-cd-list", f"uuid={vm}")
    assert xe.fails("vm-cd-insert", f"uuid={vm}", "cd-name=none") == "Error: CD none not found!\n"
    said = xe.fails("vm-cd-eject", f"uuid={vm}")
    assert said.startswith("The drive is empty.\n")


# ---- storage ----

def test_storage_repositories(xe, tmp_path):
    sr = xe("sr-create", "name-label=second", "type=file", f"device-config:location={tmp_path}")
    pbd = xe("pbd-list", f"sr-uuid={sr}", "--minimal")
    assert xe("pbd-param-get", f"uuid={pbd}", "param-name=device-config",
              "param-key=location") == str(tmp_path)
    xe("sr-scan", f"uuid={sr}")
    xe("pbd-unplug", f"uuid={pbd}")
    xe("sr-forget", f"uuid={sr}")
    assert xe("sr-list", f"uuid={sr}", "--minimal") == ""


def test_a_disk_goes_to_another_repository(xe, tmp_path):
    local = xe("sr-list", "name-label=Local storage", "--minimal")
    sr = xe("sr-create", "name-label=other", "type=file", f"device-config:location={tmp_path}")
    vdi = xe("vdi-create", f"sr-uuid={local}", "name-label=wanderer", "virtual-size=8MiB", "type=user")
    assert "vmdk" in xe.fails("vdi-pool-migrate", f"uuid={vdi}", f"sr-uuid={sr}", "dest-img-format=vmdk")
    new = xe("vdi-pool-migrate", f"uuid={vdi}", f"sr-uuid={sr}", "dest-img-format=vhd")
    assert xe("vdi-list", "name-label=wanderer", "--minimal") == new
    assert xe("vdi-param-get", f"uuid={new}", "param-name=sr-uuid") == sr
    assert [p.name for p in tmp_path.glob("*.vhd")] == [new + ".vhd"]
    xe("vdi-destroy", f"uuid={new}")
    xe("pbd-unplug", "uuid=" + xe("pbd-list", f"sr-uuid={sr}", "--minimal"))
    xe("sr-forget", f"uuid={sr}")


# ---- who asks ----

def test_over_tcp_with_a_password(xe, vm):
    assert xe("vm-list", f"uuid={vm}", "--minimal", extra=xe.tcp()) == vm
    assert xe("vm-list", f"uuid={vm}", "--minimal", "-s", "127.0.0.1", "-p", str(xe.daemon.port), "-u", "root",
              "-pw", "a secret of the tests", extra="") == vm


def test_a_wrong_password(xe):
    assert xe.fails("vm-list", extra=xe.tcp(password="wrong")) == (
        "Authentication failed\nFor usage run: 'xe help'\n")


def test_roles_hold(xe):
    said = xe.fails("vm-install", "template=Other install media", "new-name-label=x", extra=xe.tcp("read-only"))
    assert said.startswith("The caller's role does not allow this.\n")


def test_settings_of_the_rc_file_and_password_file(xe, vm, tmp_path):
    (tmp_path / ".xe").write_text(f"server=127.0.0.1\nport={xe.daemon.port}\nusername=root\n"
                                  "password=a secret of the tests\n")
    assert xe("vm-list", f"uuid={vm}", "--minimal", extra="", env={"HOME": str(tmp_path)}) == vm
    (tmp_path / "pw").write_text("root\na secret of the tests\n")
    assert xe("vm-list", f"uuid={vm}", "--minimal", "-s", "127.0.0.1", "-p", str(xe.daemon.port), "-pwf",
              str(tmp_path / "pw"), extra="") == vm


def test_nobody_there_is_said(xe):
    assert "cannot reach this host through '/nowhere'" in xe.fails("vm-list", extra="server=/nowhere")
    assert "is cairnd running" in xe.fails("vm-list", extra="server=127.0.0.1,port=1")


# ---- help ----

def test_help(xe):
    assert "vm-start" in xe("help", "--minimal").split(",")
    assert "vm-param-get" in xe("help", "--all", "--minimal").split(",")
    one = xe("help", "vm-start")
    assert "optional params: force, on, paused" in one and "Start a VM" in one
    assert "name-label" in xe("help", "vm-list")
    assert xe("help", extra=xe.tcp(password="wrong")) == xe("help")


def test_help_lists_no_command_that_is_not_there(xe):
    listed = xe("help", "--all", "--minimal").split(",")
    assert "pool-ha-enable" not in listed and "vm-clone" in listed
    assert "does not implement" not in xe("help", *listed)
    assert "does not implement" in xe("help", "pool-ha-enable")


def test_commands_of_later_releases_say_so(xe, vm):
    said = xe.fails("vm-retrieve-wlb-recommendations", f"uuid={vm}")
    assert said == ("Error: The command vm-retrieve-wlb-recommendations "
                    "is not implemented by this host\n")


# ---- waiting, console ----

def test_event_wait_returns_when_it_is_so(xe, vm):
    xe("event-wait", "class=vm", f"uuid={vm}", "power-state=halted")
    xe("event-wait", "class=vm", f"uuid={vm}", "power-state=/=running")


def test_console_without_a_terminal_prints_what_is_there(xe, running):
    out = xe("console", f"uuid={running}")
    assert out.splitlines()[0] == ("Connecting to console on VM guest of a test. "
                                   "Press Ctrl + ']' to quit.")
    assert "guest of a test" in out.splitlines()[1]


def test_console_of_a_halted_vm(xe, vm):
    assert "No text console available" in xe.fails("console", f"uuid={vm}")


def test_diagnoses(xe, vm):
    out = xe("diagnostic-vm-status", f"uuid={vm}")
    assert f"uuid ( RO)              : {vm}\n" in out and out.rstrip().endswith("verdict: OK")
    sr = xe("sr-list", "name-label=Local storage", "--minimal")
    vdi = xe("vdi-create", f"sr-uuid={sr}", "name-label=looked at", "virtual-size=4MiB")
    assert "looked at" in xe("diagnostic-vdi-status", f"uuid={vdi}")
    xe("vdi-destroy", f"uuid={vdi}")


def test_alerts(xe):
    host = xe("host-list", "--minimal")
    xe("message-create", "name=FOR_A_TEST", "priority=4", "body=hello", f"host-uuid={host}")
    uuid = xe("message-list", "name=FOR_A_TEST", "--minimal")
    assert xe("message-param-get", f"uuid={uuid}", "param-name=body") == "hello"
    xe("message-destroy", f"uuid={uuid}")
    assert xe("message-list", "name=FOR_A_TEST", "--minimal") == ""


def test_one_command_after_the_other_is_never_refused(xe, vm):
    """What the guest did is told after the operation that made it do so: it must not be in the way."""
    for _ in range(8):
        for words in (["vm-start"], ["vm-reboot"], ["vm-shutdown"], ["vm-start", "paused=true"],
                      ["vm-shutdown", "force=true"]):
            xe(*words, f"uuid={vm}")
