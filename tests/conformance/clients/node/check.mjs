// node-redis and ioredis, unchanged: plain, RESP2 and RESP3, and their cluster clients.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createClient, createCluster } from "redis";
import Redis from "ioredis";

const addresses = process.env.HOSTD_ADDRESSES.split(",").map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});

async function check(client, prefix) {
  const key = (name) => `${prefix}:${name}`;
  assert.equal(await client.set(key("k"), "value"), "OK");
  assert.equal(await client.get(key("k")), "value");
  assert.equal(await client.get(key("none")), null);
  assert.equal(await client.incr(key("n")), 1);
  const strlen = client.strlen ?? client.strLen;
  assert.equal(await strlen.call(client, key("k")), 5);
  // Commands that are called together travel together, and are answered in order.
  const writes = [];
  for (let number = 0; number < 200; number += 1) {
    writes.push(client.append(key("list"), `${number},`));
  }
  const lengths = await Promise.all(writes);
  assert.deepEqual(lengths, [...lengths].sort((one, other) => one - other));
  const expected = Array.from({ length: 200 }, (_, number) => `${number},`).join("");
  assert.equal(await client.get(key("list")), expected);
  assert.equal(await client.del(key("k")), 1);
  await client.set(key("word"), "abc");
  await assert.rejects(client.incr(key("word")), /value is not an integer/);
}

// What is told, until it is as expected: messages come on their own time.
async function arrives(told, expected) {
  for (let tries = 0; told.length < expected.length && tries < 1000; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.deepEqual(told, expected);
}

async function checkChannels(client, name) {
  const subscriber = client.duplicate();
  await subscriber.connect();
  const told = [];
  const listen = (message, channel) => told.push([channel, message]);
  await subscriber.subscribe(`${name}:news`, listen);
  await subscriber.pSubscribe(`__keyspace@0__:${name}:*`, listen);
  assert.equal(await client.publish(`${name}:news`, "hello"), 1);
  await client.set(`${name}:k`, "v");
  await client.del(`${name}:k`);
  const keyspace = `__keyspace@0__:${name}:k`;
  const expected = [[`${name}:news`, "hello"], [keyspace, "set"], [keyspace, "del"]];
  await arrives(told, expected);
  await subscriber.unsubscribe(`${name}:news`);
  assert.equal(await client.publish(`${name}:news`, "nobody"), 0);
  await subscriber.pUnsubscribe();
  // Bytes or text: this library remembers that it was told bytes.
  assert.equal(String(await subscriber.ping()), "PONG");
  await subscriber.close();
}

for (const RESP of [2, 3]) {
  for (const { host, port } of addresses) {
    const client = createClient({ socket: { host, port }, RESP, name: "check" });
    client.on("error", (error) => { throw error; });
    await client.connect();
    await check(client, `node${RESP}:${port}`);
    assert.equal(await client.clientGetName(), "check");
    assert.equal(await client.mSet({ "node:a": "1", "node:b": "2" }), "OK");
    assert.deepEqual(await client.mGet(["node:a", "node:none", "node:b"]), ["1", null, "2"]);
    assert.ok(Number(await client.sendCommand(["TICKET"])) > 0);
    await checkChannels(client, `node-channels${RESP}:${port}`);
    await client.close();
  }
}

const cluster = createCluster({
  rootNodes: addresses.map(({ host, port }) => ({ socket: { host, port } })),
});
cluster.on("error", (error) => { throw error; });
await cluster.connect();
await check(cluster, "node-cluster");
await cluster.close();

for (const { host, port } of addresses) {
  const client = new Redis({ host, port, lazyConnect: true, connectionName: "check" });
  await client.connect();
  await check(client, `io:${port}`);
  const pipeline = client.pipeline();
  pipeline.set("io:p", 1).get("io:p").set("io:p", 2).get("io:p");
  const answers = await pipeline.exec();
  assert.deepEqual(answers.map(([, answer]) => answer), ["OK", "1", "OK", "2"]);
  const subscriber = client.duplicate({ lazyConnect: true });
  await subscriber.connect();
  const told = [];
  subscriber.on("message", (channel, message) => told.push([channel, message]));
  subscriber.on("pmessage", (pattern, channel, message) => told.push([pattern, channel, message]));
  assert.equal(await subscriber.subscribe(`io:${port}:news`, `io:${port}:more`), 2);
  assert.equal(await subscriber.psubscribe(`io:${port}:n*`), 3);
  assert.equal(await client.publish(`io:${port}:news`, "hello"), 2);
  await arrives(told, [
    [`io:${port}:news`, "hello"],
    [`io:${port}:n*`, `io:${port}:news`, "hello"],
  ]);
  await assert.rejects(subscriber.get("k"), /subscriber mode/);
  assert.equal(await subscriber.unsubscribe(`io:${port}:news`, `io:${port}:more`), 1);
  subscriber.disconnect();
  client.disconnect();
}

const ioCluster = new Redis.Cluster(addresses, { lazyConnect: true });
await ioCluster.connect();
await check(ioCluster, "io-cluster");
// Its subscriber is a connection to one node, and it publishes at any.
const told = [];
ioCluster.on("message", (channel, message) => told.push([channel, message]));
await ioCluster.subscribe("io-cluster:news");
await ioCluster.publish("io-cluster:news", "hello");
await arrives(told, [["io-cluster:news", "hello"]]);
ioCluster.disconnect();

const require = createRequire(import.meta.url);
const version = (name) => require(`${name}/package.json`).version;
console.log("node-redis", version("redis"), "ioredis", version("ioredis"));
