# SPDX-License-Identifier: Apache-2.0
"""The main job in a cluster: install, label, apply a policy; a Deployment's agent works with plain clients, and what it does is
masked, refused, held for people, and told."""

import json

import pytest

import support
import world
from support import wait_for
from world import Agent, Database, Person, assert_no_canary, finish, grant, pending


class World:
    """One database, one agent and three people for all tests of this file."""

    def __init__(self, data, agents):
        self.data, self.ns = data, agents
        self.db = Database(data)
        agents.apply(self.db.target(), world.policy())
        self.agent = Agent(agents, self.db)
        self.alice, self.dan = Person("alice", "dba"), Person("dan", "dba")
        self.carol = Person("carol", "dev")
        grant(agents, "chaperone-approver", groups=["dba", "dev"])


@pytest.fixture(scope="module")
def w(chaperone):
    with support.Namespace(prefix="data") as data, support.Namespace(inject=True, prefix="agents") as agents:
        yield World(data, agents)


@pytest.fixture
def tail(w):
    """Every record line of the agent's sessions from now on, as a person sees them."""
    lines = world.Lines(support.program("kubectl"), "guard", "tail", w.agent.pod, "--json", "-n", w.ns.name)

    def there():
        w.agent.psql("select 'tail is there'")
        return any("tail is there" in line for line in lines.lines)
    wait_for(there, 30, "the first line of tail")
    yield lines
    lines.close()


# ---- masking ----

def test_psql_gets_masked_rows(w):
    answer = w.agent.psql("select id, name, email, ssn from users order by id", check=True)
    assert "Ada" in answer.out and answer.out.startswith("1|")
    assert_no_canary(answer.text)


def test_psycopg_gets_masked_rows_in_text_and_binary(w):
    program = ("import psycopg\n"
               "with psycopg.connect() as c:\n"
               "  for binary in (False, True):\n"
               "    for row in c.cursor(binary=binary).execute('select * from users order by id'): print(row)\n"
               "    print(c.cursor(binary=binary).execute('select note from cards').fetchone())\n")
    answer = w.agent.python(program, check=True)
    assert answer.out.count("Ada") == 2
    assert_no_canary(answer.text)


def test_a_card_number_is_masked_by_its_value(w):
    answer = w.agent.psql("select note from cards", check=True)
    assert "paid with" in answer.out
    assert_no_canary(answer.text)


# ---- refusal ----

def test_drop_is_refused_never_reaches_the_server_and_is_told(w, tail):
    mark = w.db.mark()
    answer = w.agent.psql("drop table orders", "-v", "VERBOSITY=verbose")
    assert answer.code != 0 and "42501" in answer.text and "open a migration PR" in answer.text
    assert not w.db.saw("drop table", since=mark)
    assert w.db.sql("select count(*) from orders") == "20"
    tail.wait(lambda line: '"decision"' in line and "ddl" in line, 10, "the refusal in the record")
    wait_for(lambda: "ddl" in w.agent.events(), 20, "the refusal among the pod's Events")
    assert w.agent.psql("select 1", check=True).out.strip() == "1"


def test_the_agents_own_address_does_not_matter(w):
    """By the Service's address and by the pod's, as by name: what is no target is closed."""
    service = w.data.get("service", "orders-db")["spec"]["clusterIP"]
    answer = w.agent.psql("select 1", "-d", f"hostaddr={service} sslmode=require")
    assert answer.code == 0, str(answer)  # the name of the target resolves to this address
    pod = w.data.get("pod", "orders-db")["status"]["podIP"]
    assert w.agent.psql("select 1", "-d", f"host={pod} sslmode=disable").code != 0


# ---- approval ----

def test_an_update_waits_for_one_of_the_approvers(w, tail):
    mark = w.db.mark()
    update = w.agent.start("psql", "-XAt", "-c", "update orders set state = 'paid' where id = 7 returning state")
    request = pending(w.ns, "where id = 7")
    name = request["metadata"]["name"]
    assert request["spec"]["rule"] == "writes" and request["spec"]["pod"] == w.agent.pod
    assert not w.db.saw("id = 7", since=mark)

    refused = w.carol.guard("approve", name, namespace=w.ns.name)
    assert refused.code == 1 and "dba" in refused.text, str(refused)
    assert pending(w.ns, "where id = 7")
    assert update.poll() is None and not w.db.saw("id = 7", since=mark)

    w.alice.guard("approve", name, "--reason", "ticket 4711", namespace=w.ns.name, check=True)
    code, output = finish(update)
    assert code == 0 and "paid" in output, output
    assert w.db.sql("select state from orders where id = 7") == "paid"
    tail.wait(lambda line: '"approval"' in line and "alice" in line and "ticket 4711" in line, 10, "alice in the record")
    assert "alice" in support.kubectl("describe", "approvalrequest", name, namespace=w.ns.name).out
    wait_for(lambda: "alice" in w.agent.events(), 20, "alice among the pod's Events")


@pytest.mark.parametrize("account", ["coder", "other"])
def test_no_agents_service_account_can_approve(w, account):
    """Even one that may patch the status: the requester's own, and another agent's."""
    if not w.ns.get("serviceaccount", account):
        w.ns.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    user = f"system:serviceaccount:{w.ns.name}:{account}"
    grant(w.ns, "chaperone-approver", users=[user], name=f"approver-{account}")
    mark = w.db.mark()
    update = w.agent.start("psql", "-XAt", "-c", "update orders set state = 'stolen' where id = 8")
    name = pending(w.ns, "'stolen'")["metadata"]["name"]
    patch = json.dumps([{"op": "add", "path": "/status/decisions/-", "value": {"decision": "Approve"}}])
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{w.ns.name}", "system:authenticated", "dba"]
    answer = support.kubectl("patch", "approvalrequests.chaperone.dev", name, "--subresource=status", "--type=json", "-p", patch,
                             namespace=w.ns.name, user=user, groups=groups, check=False)
    support.refused(answer, "ServiceAccount")
    w.alice.guard("deny", name, "--reason", "no ticket", namespace=w.ns.name, check=True)
    code, output = finish(update)
    assert code != 0 and "no ticket" in output, output
    assert not w.db.saw("stolen", since=mark)
    assert w.agent.psql("select state from orders where id = 8", check=True).out.strip() == "open"


def test_two_people_are_two_people(w):
    insert = w.agent.start("psql", "-XAt", "-c", "insert into orders values (100, 'new')")
    name = pending(w.ns, "(100")["metadata"]["name"]
    w.alice.guard("approve", name, namespace=w.ns.name, check=True)
    again = w.alice.guard("approve", name, namespace=w.ns.name)
    assert again.code == 1 and "already" in again.text, str(again)
    assert insert.poll() is None and w.db.sql("select count(*) from orders where id = 100") == "0"
    w.dan.guard("approve", name, namespace=w.ns.name, check=True)
    code, output = finish(insert)
    assert code == 0, output
    decisions = w.ns.get("approvalrequests.chaperone.dev", name)["status"]["decisions"]
    assert [d["by"] for d in decisions] == ["alice", "dan"]


def test_who_decides_cannot_pretend_to_be_somebody_else(w):
    update = w.agent.start("psql", "-XAt", "-c", "update orders set state = 'x' where id = 9")
    name = pending(w.ns, "where id = 9")["metadata"]["name"]
    forged = {"decision": "Approve", "by": "dan", "groups": ["dba"], "at": "2020-01-01T00:00:00Z"}
    patch = json.dumps([{"op": "add", "path": "/status/decisions/-", "value": forged},
                        {"op": "replace", "path": "/status/phase", "value": "Approved"}])
    answer = w.carol.kubectl("patch", "approvalrequests.chaperone.dev", name, "--subresource=status", "--type=json", "-p", patch,
                             namespace=w.ns.name)
    support.refused(answer, "dba")
    stamped = w.alice.kubectl("patch", "approvalrequests.chaperone.dev", name, "--subresource=status", "--type=json", "-p", patch,
                              namespace=w.ns.name)
    assert finish(update)[0] == (0 if stamped.code == 0 else 1)
    for d in w.ns.get("approvalrequests.chaperone.dev", name)["status"].get("decisions", []):
        assert d["by"] == "alice" and not d["at"].startswith("2020")
