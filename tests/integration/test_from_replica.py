# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam pull --from REPLICA: the snapshot is made on a replica, and the new replica ends up under
the primary, which neither forks nor sends an image."""
import signal

import data
import harness
from harness import wait_for
from test_pull import in_sync, one_line, pull, same_data, stats


def follow(primary, replica):
    replica.client.replicaof("127.0.0.1", primary.port)
    in_sync(primary, replica)


def pair(make, primary_module=False):
    """A primary with data, and a replica of it that has the module."""
    primary = make("primary", module=primary_module)
    data.fill_mixed(primary)
    source = make("source", options={"segment-size": "2mb"})
    follow(primary, source)
    return primary, source


def test_new_replica_goes_on_under_the_primary(make, binary):
    """Also under a primary without the module, while it writes to several databases."""
    primary, source = pair(make)
    target = make("target", module=False)
    before = stats(primary)
    with data.Load(primary) as load:
        wait_for(lambda: load.writes > 500, "writes flow")
        said = pull(source, target)
    assert said["full_resyncs"] == 0 and said["partial_resyncs"] == 1, said
    same_data(primary, target)
    assert target.value("replication", "master_port") == str(primary.port)
    after = stats(primary)
    assert after["sync_full"] == before["sync_full"], "no full resync at the primary"
    assert after["total_forks"] == before["total_forks"], "the primary did not fork"
    same_data(primary, source)


def test_each_cut_knows_its_database(make):
    """The database that the stream is in at the cut goes with the image."""
    primary, source = pair(make)
    for db in range(4):
        primary.connect(db=db).set("last", db)
        in_sync(primary, source)
        target = make(f"target{db}", module=False)
        assert pull(source, target, "--fresh")["full_resyncs"] == 0
        primary.connect(db=db).set("next", db)
        same_data(primary, target)


def small_pair(make):
    """A primary whose stream is in database 3, and a replica whose replicas get what it saves to disk."""
    primary = make("primary", module=False)
    source = make("source", repl_diskless_sync="no")
    data.fill_strings(primary.connect(db=3), 50, 30)
    follow(primary, source)
    primary.connect(db=3).set("last", 3)
    in_sync(primary, source)
    return primary, source


def below(make, source):
    server = make("below", module=False)
    server.client.replicaof("127.0.0.1", source.port)
    return server


def go_on(primary, source, server):
    primary.connect(db=3).set("next", 3)
    in_sync(primary, source)
    in_sync(source, server)
    assert server.digest() == primary.digest()


def test_a_replica_of_a_replica_goes_on_in_its_database(make, binary):
    """It gets the primary's stream as it goes on, in which no SELECT need come: its writes went to database 0."""
    primary, source = small_pair(make)
    server = below(make, source)
    in_sync(source, server)
    source.image_made()
    go_on(primary, source, server)


def test_a_replica_of_a_replica_whose_link_went_while_it_waited(make, binary):
    """Also without its link a replica knows which database its stream is in."""
    primary, source = small_pair(make)
    source.client.config_set("rdb-key-save-delay", 10000)
    source.client.bgsave()
    server = below(make, source)
    wait_for(lambda: "wait_bgsave" in str(source.info("replication").get("slave0")), "it waits")
    assert source.saving()
    primary.process.send_signal(signal.SIGSTOP)
    source.client.client_kill_filter(_type="master")
    wait_for(lambda: server.value("replication", "master_link_status") == "up", "it has the dump")
    primary.process.send_signal(signal.SIGCONT)
    source.image_made()
    go_on(primary, source, server)
    assert stats(source)["sync_full"] == 1


def calls(server, command):
    line = server.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(line.partition("calls=")[2].partition(",")[0])


def test_replica_with_io_threads_saves(make, binary):
    """It has no list of clients made: before that Redis 8 stops its I/O threads, of which a child has none, and it would
    wait for them for ever."""
    primary = make("primary", module=False)
    primary.client.set("key", "value")
    source = make("source", options={"segment-size": "2mb"}, io_threads="4")
    follow(primary, source)
    before = calls(source, "client|list")
    source.bgsave()
    assert calls(source, "client|list") == before
    source.image_made()
    assert pull(source, make("target", module=False))["full_resyncs"] == 0


def test_transactions_in_the_stream(make):
    primary, source = pair(make)
    target = make("target", module=False)
    with data.Load(primary) as load:
        pipe = primary.connect(db=2).pipeline(transaction=True)
        for number in range(2000):
            pipe.set(f"tx:{number}", number)
        pipe.execute()
        said = pull(source, target)
        assert load.writes > 0
    assert said["full_resyncs"] == 0
    same_data(primary, target)


def test_primary_by_another_address(make):
    primary, source = pair(make)
    target = make("target", module=False)
    # Not localhost: that may be ::1 first, where nobody listens, and a server tries no other address.
    said = pull(source, target, "--primary", f"127.1:{primary.port}")
    assert said["full_resyncs"] == 0
    assert target.value("replication", "master_host") == "127.1"
    wait_for(lambda: target.digest() == primary.digest(), "equal digests")


def test_wrong_primary_is_refused(make):
    primary, source = pair(make)
    other = make("other", module=False)
    target = make("target", module=False)
    one_line(pull(source, target, "--primary", f"127.0.0.1:{other.port}", check=3), "--primary",
             str(other.port))
    assert target.value("replication", "role") == "master" and target.client.dbsize() == 0
    one_line(pull(source, source, check=2), "same server")
    one_line(pull(source, primary, "--force", check=2), "same server")


def test_primary_over_another_replica_is_no_target(make):
    """It would follow itself."""
    primary, source = pair(make)
    last = make("last", options={"segment-size": "2mb"})
    follow(source, last)
    one_line(pull(last, primary, "--force", check=2), "follow itself", str(primary.port))
    assert primary.value("replication", "role") == "master"


def test_target_above_the_primary_to_come_is_refused(make):
    """primary <- target <- lead <- last: target and lead would follow each other, and both say that all is well."""
    primary = make("primary", module=False)
    data.fill_strings(primary.client, 100, 100)
    target, lead, last = make("target", module=False), make("lead", module=False), make("last")
    for above, below in ((primary, target), (target, lead), (lead, last)):
        follow(above, below)
    one_line(pull(last, target, "--force", check=2), "follow each other", str(lead.port))
    assert target.value("replication", "master_port") == str(primary.port)


def test_primary_option_needs_a_replica(make):
    primary = make("primary")
    target = make("target", module=False)
    one_line(pull(primary, target, "--primary", "127.0.0.1:1", check=2), "--primary")


def test_replica_without_its_primary_makes_no_image(make):
    """What database the stream is in is not to be had: a refusal, not a guess."""
    primary, source = pair(make)
    target = make("target", module=False)
    primary.process.send_signal(signal.SIGKILL)
    primary.process.wait()
    wait_for(lambda: source.value("replication", "master_link_status") == "down", "link is down")
    done = source.client.execute_command
    try:
        done("RDBEAM.TICKET", "FRESH")
        raise AssertionError("a ticket without a link")
    except harness.redis.ResponseError as error:
        assert "master_link_status" in str(error)
    one_line(pull(source, target, check=1), str(primary.port))


def without_primary(primary, source):
    """The primary hangs, and the replica knows."""
    primary.process.send_signal(signal.SIGSTOP)
    source.client.client_kill_filter(_type="master")
    wait_for(lambda: source.value("replication", "master_link_status") == "down", "link is down")


def test_a_dump_without_a_link_says_where_the_stream_is(make, binary):
    """A replica that is started anew on it goes on from there, as from the server's own dump: it asked for everything."""
    primary, source = small_pair(make)
    without_primary(primary, source)
    try:
        source.bgsave()
        source.image_made()
        source.conf["replicaof"] = f"127.0.0.1 {primary.port}"
        source.stop()
        source.start()
    finally:
        primary.process.send_signal(signal.SIGCONT)
    primary.connect(db=3).set("next", 3)
    in_sync(primary, source)
    assert source.digest() == primary.digest()
    assert stats(primary)["sync_partial_ok"] == 1 and stats(primary)["sync_full"] == 1
