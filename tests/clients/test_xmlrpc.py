"""Python's xmlrpc.client, as XenAPI.py uses it, does what the npm package does."""
import xmlrpc.client

import pytest

from simhost import PASSWORD


class Failure(Exception):
    pass


class Session(xmlrpc.client.ServerProxy):
    """The few lines around the standard library that the old XenAPI.py is."""

    def login(self, user, password):
        login = self.__getattr__("session.login_with_password")
        self.reference = self.value(login(user, password))
        return self

    @staticmethod
    def value(reply):
        if reply["Status"] != "Success":
            raise Failure(*reply["ErrorDescription"])
        return reply["Value"]

    def api(self, name, *args):
        return self.value(self.__getattr__(name)(self.reference, *args))


@pytest.fixture(params=["", "/", "/RPC2"])
def client(daemon, request):
    with Session(daemon.url + request.param) as proxy:
        yield proxy.login("root", PASSWORD)


def test_what_a_console_asks_first(client):
    """XenCenter's calls after a login."""
    pool = client.api("pool.get_all_records")
    master = next(iter(pool.values()))["master"]
    host = client.api("host.get_record", master)
    assert int(host["API_version_major"]) == 2 and int(host["API_version_minor"]) >= 0
    assert client.api("session.get_is_local_superuser", client.reference) is True
    assert client.api("session.get_rbac_permissions", client.reference) == []
    assert len(client.api("role.get_all_records")) > 1000
    assert client.api("session.get_this_host", client.reference) == master


def test_lists_all_objects(client):
    classes = {name.split(".")[0] for name in client.system.listMethods()
               if name.endswith(".get_all_records")}
    assert len(classes) > 50
    for cls in sorted(classes - {"VBD_metrics", "VIF_metrics", "VMPP"}):
        client.api(f"{cls}.get_all_records")
    with pytest.raises(Failure, match="MESSAGE_REMOVED"):
        client.api("VMPP.get_all_records")


def test_start_watch_stop(client, guest):
    token = client.api("event_from", [f"vm/{guest}"], "", 0.0)["token"]
    client.api("VM.start", guest, False, False)
    states = []
    while "Running" not in states:
        batch = client.api("event_from", ["vm"], token, 30.1)
        token = batch["token"]
        states += [e["snapshot"]["power_state"] for e in batch["events"] if e["ref"] == guest]
        assert batch["events"], states
    client.api("VM.hard_shutdown", guest)
    assert client.api("VM.get_power_state", guest) == "Halted"
    with pytest.raises(Failure) as e:
        client.api("VM.pause", guest)
    assert e.value.args[:2] == ("VM_BAD_POWER_STATE", guest)
