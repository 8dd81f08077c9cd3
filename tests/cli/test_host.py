"""Commands about a host, its licence and its certificates, and about what a VM tells of its machine."""
import re


def test_cpu_info(xe):
    out = xe("host-cpu-info")
    assert re.match(r"cpu_count +: \d+\n", out) and re.search(r"\n +vendor: \S+", out)
    host = xe("host-list", "--minimal")
    assert xe("host-cpu-info", f"uuid={host}") == out
    assert "uuid you supplied was invalid" in xe.fails("host-cpu-info", "uuid=nonsense")


def test_licences_never_end(xe):
    status = dict(re.split(r" *: ", line.strip(), maxsplit=1) for line in xe("diagnostic-license-status").splitlines())
    assert status["UUID"] == xe("host-list", "--minimal") and int(status["Expiry"][:4]) > 2090
    assert status["Expiry"] in xe("host-license-view")
    assert xe("host-all-editions") == status["Edition"]
    assert xe("host-list", "params=edition", "--minimal") == status["Edition"]


def test_certificates_are_installed_from_files(xe, tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    said = xe.run("pool-install-ca-certificate", f"filename={tmp_path}/bad.pem")
    assert said.status == 1 and not said.err.startswith("The server refused")
    assert "Failed to read the file" in xe.run("pool-install-ca-certificate", f"filename={tmp_path}/none").err
    assert "BEGIN CERTIFICATE" in xe("host-get-server-certificate")


def test_what_a_vm_tells_of_its_machine(xe, vm):
    assert xe("vm-is-bios-customized", f"uuid={vm}") == "The BIOS strings of this VM have not yet been set."
    xe("vm-start", f"uuid={vm}")
    xe("vm-shutdown", f"uuid={vm}", "force=true")
    assert xe("vm-is-bios-customized", f"uuid={vm}") == "This VM is BIOS-generic."
    assert xe("vm-crashdump-list", f"uuid={vm}") == ""
    other = xe("vm-install", "template=Other install media", "new-name-label=with strings")
    xe("vm-param-set", f"uuid={other}", "bios-strings:bios-vendor=ACME", "bios-strings:system-manufacturer=ACME")
    assert xe("vm-is-bios-customized", f"uuid={other}") == "This VM is BIOS-customized."
    xe("vm-uninstall", f"uuid={other}", "force=true")
