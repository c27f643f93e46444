// Command etcdload drives an etcd cluster the way hostd-bench drives hostd: a fixed number of
// clients, each with a fixed number of requests in flight, for a fixed time after a warm-up.
//
// Connections are shared as etcd's own benchmark tool does it (tools/benchmark, --conns and
// --clients): client i uses connection i modulo the number of connections.
//
// It prints one JSON object on standard output.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// result is what hostd-bench reads; all but Total cover the measured time only.
type result struct {
	Operations uint64  `json:"operations"`
	Errors     uint64  `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Seconds    float64 `json:"seconds"`
	P50us      float64 `json:"p50_us"`
	P99us      float64 `json:"p99_us"`
	// Total counts the operations of the warm-up too.
	Total uint64 `json:"total"`
}

type options struct {
	endpoints        []string
	operation        string
	clients          int
	inFlight         int
	connections      int
	keys             int
	valueBytes       int
	warmup, duration time.Duration
}

func main() {
	o := options{}
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "client addresses, comma separated")
	flag.StringVar(&o.operation, "op", "put", "put, range (linearizable), fill (put every key once), or leader (print its address)")
	flag.IntVar(&o.clients, "clients", 1, "clients")
	flag.IntVar(&o.inFlight, "in-flight", 1, "requests in flight per client")
	flag.IntVar(&o.connections, "conns", 1, "connections, shared by the clients")
	flag.IntVar(&o.keys, "keys", 10000, "number of keys")
	flag.IntVar(&o.valueBytes, "value-bytes", 64, "size of a value")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "time before measuring")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "measured time")
	flag.Parse()
	o.endpoints = strings.Split(*endpoints, ",")

	// The load generator shares two cores with the cluster: fewer collections leave it more.
	debug.SetGCPercent(400)

	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.operation == "leader" {
		endpoint, err := leader(o.endpoints)
		fmt.Println(endpoint)
		return err
	}
	result, err := measure(o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// leader waits until the cluster has a leader and returns its endpoint.
func leader(endpoints []string) (string, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		for _, endpoint := range endpoints {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := c.Status(ctx, endpoint)
			cancel()
			if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
				return endpoint, nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no leader among %v after 20 s", endpoints)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func measure(o options) (*result, error) {
	connections := make([]*clientv3.Client, min(o.connections, o.clients))
	for i := range connections {
		c, err := clientv3.New(clientv3.Config{
			Endpoints:   o.endpoints,
			DialTimeout: 5 * time.Second,
			Logger:      zap.NewNop(),
		})
		if err != nil {
			return nil, fmt.Errorf("connect to %v: %w", o.endpoints, err)
		}
		defer c.Close()
		connections[i] = c
	}
	if o.operation == "fill" {
		return fill(o, connections)
	}
	return load(o, connections)
}

// operation returns what one lane repeats.
func operation(o options, c *clientv3.Client, random *rand.Rand, value string) func(context.Context) error {
	key := func() string { return fmt.Sprintf("key:%012d", random.IntN(o.keys)) }
	if o.operation == "range" {
		return func(ctx context.Context) error {
			_, err := c.Get(ctx, key())
			return err
		}
	}
	return func(ctx context.Context) error {
		_, err := c.Put(ctx, key(), value)
		return err
	}
}

func load(o options, connections []*clientv3.Client) (*result, error) {
	lanes := make([]lane, o.clients*o.inFlight)
	value := strings.Repeat("x", o.valueBytes)
	var failed atomic.Pointer[error]
	var group sync.WaitGroup

	from := time.Now().Add(o.warmup)
	until := from.Add(o.duration)
	for i := range lanes {
		client := connections[(i/o.inFlight)%len(connections)]
		random := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
		do := operation(o, client, random, value)
		group.Add(1)
		go func() {
			defer group.Done()
			if err := lanes[i].run(do, from, until); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}()
	}
	group.Wait()

	r := &result{Seconds: o.duration.Seconds()}
	if err := failed.Load(); err != nil {
		r.FirstError = (*err).Error()
	}
	var latencies []time.Duration
	for i := range lanes {
		latencies = append(latencies, lanes[i].latencies...)
		r.Errors += lanes[i].errors
		r.Total += lanes[i].total
	}
	r.Operations = uint64(len(latencies))
	slices.Sort(latencies)
	r.P50us, r.P99us = quantile(latencies, 0.5), quantile(latencies, 0.99)
	return r, nil
}

// lane is one request in flight at a time.
type lane struct {
	latencies     []time.Duration
	errors, total uint64
}

// run repeats do until the end of the measured time and keeps what completed within it.
func (l *lane) run(do func(context.Context) error, from, until time.Time) (first error) {
	for {
		start := time.Now()
		if !start.Before(until) {
			return first
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := do(ctx)
		cancel()
		end := time.Now()
		measured := !end.Before(from) && end.Before(until)
		switch {
		case err != nil:
			if first == nil {
				first = err
			}
			if measured {
				l.errors++
			}
		default:
			l.total++
			if measured {
				l.latencies = append(l.latencies, end.Sub(start))
			}
		}
	}
}

// fill puts every key once.
func fill(o options, connections []*clientv3.Client) (*result, error) {
	value := strings.Repeat("x", o.valueBytes)
	var next atomic.Int64
	var group sync.WaitGroup
	failures := make(chan error, o.clients)
	start := time.Now()
	for i := range o.clients {
		group.Add(1)
		go func() {
			defer group.Done()
			c := connections[i%len(connections)]
			for k := next.Add(1) - 1; k < int64(o.keys); k = next.Add(1) - 1 {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				_, err := c.Put(ctx, fmt.Sprintf("key:%012d", k), value)
				cancel()
				if err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	group.Wait()
	select {
	case err := <-failures:
		return nil, fmt.Errorf("fill: %w", err)
	default:
	}
	n := uint64(o.keys)
	return &result{Operations: n, Total: n, Seconds: time.Since(start).Seconds()}, nil
}

// quantile of sorted durations, in microseconds; 0 when there are none.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	index := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[index].Nanoseconds()) / 1e3
}
