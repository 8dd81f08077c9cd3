"""How many sessions there may be of one kind: the oldest goes when one too many comes."""
import pytest

from pipeline import Pipeline
from simhost import PASSWORD, run_daemon


@pytest.fixture(scope="module")
def house():
    yield from run_daemon()


def logins(house, n, user, *more):
    with Pipeline(house.port) as p:
        return p.results([("session.login_with_password", [user, PASSWORD, *more])] * n)


def is_live(house, session):
    return "result" in house.json("VM.get_all", session)


@pytest.mark.parametrize("limit,user,more", [(400, "root", []), (500, "root", ["", "crowd"]),
                                             (500, "vm-admin", []),
                                             (500, "read-only", ["", "named"])])
def test_the_oldest_of_a_full_group_goes(house, limit, user, more):
    sessions = logins(house, limit, user, *more)
    assert len(set(sessions)) == limit and is_live(house, sessions[0])
    is_live(house, sessions[0])  # used just now, so the second is the oldest
    newest = logins(house, 1, user, *more)[0]
    assert not is_live(house, sessions[1])
    assert is_live(house, sessions[0]) and is_live(house, sessions[2]) and is_live(house, newest)


def test_groups_do_not_push_each_other_out(house):
    with house.connect("vm-operator") as mine, house.connect(originator="lonely") as other:
        logins(house, 520, "vm-power-admin")
        assert mine.VM.get_all() and other.VM.get_all()
