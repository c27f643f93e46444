"""redis-py, unchanged: plain over RESP2 and RESP3, and its cluster client."""

import os
import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

addresses = [tuple(address.rsplit(":", 1)) for address in os.environ["HOSTD_ADDRESSES"].split(",")]


def expect(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


def check(client, prefix):
    key = lambda name: f"{prefix}:{name}"
    expect(client.ping(), True, "ping")
    expect(client.set(key("k"), b"\x00\xff\r\n"), True, "set")
    expect(client.get(key("k")), b"\x00\xff\r\n", "get")
    expect(client.get(key("none")), None, "get of nothing")
    expect(client.set(key("k"), "x", nx=True), None, "set nx")
    expect(client.set(key("k"), "new", get=True), b"\x00\xff\r\n", "set get")
    expect(client.incr(key("n")), 1, "incr")
    expect(client.incrby(key("n"), 41), 42, "incrby")
    expect(client.append(key("k"), "er"), 5, "append")
    expect(client.strlen(key("k")), 5, "strlen")
    expect(client.exists(key("k")), 1, "exists")
    expect(client.type(key("k")), b"string", "type")
    expect(client.setex(key("short"), 1, "v"), True, "setex")
    expect(client.ttl(key("k")), -1, "ttl")
    expect(client.delete(key("k"), key("none")), 1, "delete")
    pipeline = client.pipeline(transaction=False)
    for number in range(100):
        pipeline.set(key("p"), number)
        pipeline.get(key("p"))
    expected = [answer for number in range(100) for answer in (True, str(number).encode())]
    expect(pipeline.execute(), expected, "pipeline")
    client.set(key("word"), "abc")
    try:
        client.incr(key("word"))
        sys.exit("incr of a word was accepted")
    except redis.ResponseError as error:
        expect(str(error), "value is not an integer or out of range", "error")
    deadline = time.monotonic() + 10
    while client.get(key("short")) is not None:
        if time.monotonic() > deadline:
            sys.exit("a key does not expire")
        time.sleep(0.05)


def check_channels(protocol, here, there):
    connect = lambda address: redis.Redis(host=address[0], port=int(address[1]), protocol=protocol)
    listener, near, far = connect(here), connect(here), connect(there)
    name = f"py{protocol}:{here[1]}"
    keys = f"__keyspace@0__:{name}:*"
    pubsub = listener.pubsub()

    def told(kind, channel, data, pattern=None):
        deadline = time.monotonic() + 10
        message = None
        while message is None and time.monotonic() < deadline:
            message = pubsub.get_message(timeout=1)
        pattern = pattern and pattern.encode()
        expected = {"type": kind, "pattern": pattern, "channel": channel.encode(), "data": data}
        expect(message, expected, kind)

    pubsub.subscribe(name)
    told("subscribe", name, 1)
    pubsub.psubscribe(f"{name}*", keys)
    told("psubscribe", f"{name}*", 2)
    told("psubscribe", keys, 3)
    for publisher, count in ((near, 2), (far, 0 if here != there else 2)):
        expect(publisher.publish(name, b"\x00\xff\r\n"), count, "publish")
        told("message", name, b"\x00\xff\r\n")
        told("pmessage", name, b"\x00\xff\r\n", f"{name}*")
    far.set(f"{name}:k", "v")
    told("pmessage", f"__keyspace@0__:{name}:k", b"set", keys)
    near.delete(f"{name}:k")
    told("pmessage", f"__keyspace@0__:{name}:k", b"del", keys)
    pubsub.ping()
    expect(pubsub.get_message(timeout=10)["type"], "pong", "ping")
    pubsub.unsubscribe()
    told("unsubscribe", name, 2)
    pubsub.punsubscribe(keys)
    told("punsubscribe", keys, 1)
    expect(near.publish(name, "x"), 1, "publish to who is left")
    told("pmessage", name, b"x", f"{name}*")
    pubsub.close()
    for client in (listener, near, far):
        client.close()


for protocol in (2, 3):
    for index, address in enumerate(addresses):
        check_channels(protocol, address, addresses[(index + 1) % len(addresses)])
    for host, port in addresses:
        client = redis.Redis(host=host, port=int(port), protocol=protocol, client_name="check")
        check(client, f"py{protocol}:{port}")
        # Text or bytes, as the version of the protocol has it.
        expect(client.client_getname() in ("check", b"check"), True, "name")
        expect(client.mset({"py:a": 1, "py:b": 2}), True, "mset")
        expect(client.mget("py:a", "py:none", "py:b"), [b"1", None, b"2"], "mget")
        for number in range(30):
            client.set(f"py:scan:{number}", "v")
        found = sorted(client.scan_iter(match="py:scan:*"))
        expect(len(found), 30, "scan")
        expect(client.echo("text"), b"text", "echo")
        expect(client.info()["loading"], 0, "info")
        expect(client.execute_command("TICKET") > 0, True, "ticket")
        names = {name.decode() if isinstance(name, bytes) else name for name in client.command()}
        expect({"get", "set", "ticket"} <= names, True, "command")
        client.close()

nodes = [ClusterNode(host, int(port)) for host, port in addresses]
for protocol in (2, 3):
    cluster = RedisCluster(startup_nodes=nodes, protocol=protocol)
    check(cluster, f"cluster{protocol}")
    cluster.close()
print("redis-py", redis.__version__)
