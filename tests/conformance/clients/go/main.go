// go-redis, unchanged: plain, RESP2 and RESP3, and its cluster client.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var background = context.Background()

func fail(what string, found any) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, found)
	os.Exit(1)
}

func expect[T comparable](what string, found T, err error, expected T) {
	if err != nil {
		fail(what, err)
	}
	if found != expected {
		fail(what, found)
	}
}

func check(client redis.UniversalClient, prefix string) {
	key := func(name string) string { return prefix + ":" + name }
	text, err := client.Set(background, key("k"), "value", 0).Result()
	expect("set", text, err, "OK")
	text, err = client.Get(background, key("k")).Result()
	expect("get", text, err, "value")
	if _, err = client.Get(background, key("none")).Result(); !errors.Is(err, redis.Nil) {
		fail("get of nothing", err)
	}
	number, err := client.IncrBy(background, key("n"), 42).Result()
	expect("incrby", number, err, 42)
	text, err = client.Type(background, key("k")).Result()
	expect("type", text, err, "string")
	pipeline := client.Pipeline()
	for number := range 100 {
		pipeline.Set(background, key("p"), number, 0)
		pipeline.Get(background, key("p"))
	}
	answers, err := pipeline.Exec(background)
	if err != nil {
		fail("pipeline", err)
	}
	for number := range 100 {
		text, err := answers[2*number+1].(*redis.StringCmd).Result()
		expect("pipelined get", text, err, fmt.Sprint(number))
	}
	number, err = client.Del(background, key("k")).Result()
	expect("del", number, err, 1)
	client.Set(background, key("word"), "abc", 0)
	err = client.Incr(background, key("word")).Err()
	if err == nil || !strings.Contains(err.Error(), "value is not an integer") {
		fail("incr of a word", err)
	}
}

func checkChannels(client redis.UniversalClient, name string, count int64) {
	news, keys := name+":news", "__keyspace@0__:"+name+":*"
	subscriber := client.Subscribe(background, news)
	if err := subscriber.PSubscribe(background, keys); err != nil {
		fail("psubscribe", err)
	}
	for confirmed := range 2 {
		received, err := subscriber.ReceiveTimeout(background, 10*time.Second)
		if err != nil {
			fail("subscribe", err)
		}
		subscription, ok := received.(*redis.Subscription)
		if !ok || subscription.Count != confirmed+1 {
			fail("subscribe", received)
		}
	}
	told, err := client.Publish(background, news, "hello").Result()
	if count >= 0 {
		expect("publish", told, err, count)
	}
	client.Set(background, name+":k", "v", 0)
	for _, expected := range []string{news + " hello", "__keyspace@0__:" + name + ":k set"} {
		received, err := subscriber.ReceiveTimeout(background, 10*time.Second)
		if err != nil {
			fail("message", err)
		}
		message, ok := received.(*redis.Message)
		if !ok || message.Channel+" "+message.Payload != expected {
			fail("message", received)
		}
	}
	if err := subscriber.Close(); err != nil {
		fail("close", err)
	}
}

func main() {
	addresses := strings.Split(os.Getenv("HOSTD_ADDRESSES"), ",")
	for _, protocol := range []int{2, 3} {
		for _, address := range addresses {
			client := redis.NewClient(&redis.Options{Addr: address, Protocol: protocol, ClientName: "check"})
			check(client, fmt.Sprintf("go%d:%s", protocol, address))
			name, err := client.ClientGetName(background).Result()
			expect("name", name, err, "check")
			checkChannels(client, fmt.Sprintf("go-channels%d:%s", protocol, address), 1)
			ticket, err := client.Do(background, "TICKET").Int64()
			if err != nil || ticket < 1 {
				fail("ticket", err)
			}
			if err := client.Close(); err != nil {
				fail("close", err)
			}
		}
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})
	check(cluster, "go-cluster")
	// It subscribes at one node, and publishes at any.
	checkChannels(cluster, "go-cluster-channels", -1)
	if err := cluster.Close(); err != nil {
		fail("close", err)
	}
	fmt.Println("go-redis", redis.Version())
}
