// A copier as one writes it in an afternoon with franz-go: it consumes a topic, and produces each record to the same
// partition of another one. It keeps no positions: it begins at the start, and goes on until it is killed.
//
//	copier SOURCE TARGET TOPIC MIRROR
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 5 {
		fail(fmt.Errorf("four words are needed: source, target, topic, mirror"))
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}

func run(source, target, topic, mirror string) error {
	begun := time.Now()
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(source),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20),
		kgo.FetchMaxPartitionBytes(4<<20),
	)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(target),
		kgo.DefaultProduceTopic(mirror),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(200_000),
	)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	var first sync.Once
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			fail(fmt.Errorf("target: %w", err))
		}
		first.Do(func() { fmt.Printf("first record after %.3f s\n", time.Since(begun).Seconds()) })
	}
	for {
		fetched := consumer.PollFetches(context.Background())
		if err := fetched.Err(); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			producer.Produce(context.Background(), &kgo.Record{
				Partition: r.Partition,
				Timestamp: r.Timestamp,
				Key:       r.Key,
				Value:     r.Value,
				Headers:   r.Headers,
			}, acknowledged)
		})
	}
}
