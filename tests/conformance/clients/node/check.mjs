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
  client.disconnect();
}

const ioCluster = new Redis.Cluster(addresses, { lazyConnect: true });
await ioCluster.connect();
await check(ioCluster, "io-cluster");
ioCluster.disconnect();

const require = createRequire(import.meta.url);
const version = (name) => require(`${name}/package.json`).version;
console.log("node-redis", version("redis"), "ioredis", version("ioredis"));
