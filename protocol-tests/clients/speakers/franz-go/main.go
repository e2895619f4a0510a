// franz-go as a speaker: see speaker.rs for the lines it takes and answers with.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const within = 60 * time.Second

type record struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp *int64       `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

type question struct {
	Do              string
	Bootstrap       string
	Topic           string
	How             string
	Codec           string
	TransactionalID string `json:"transactional_id"`
	Records         []record
	Partitions      int32
	Committed       bool
	Group           string
	Member          string
}

// A member of a group, and the partitions that it has.
type member struct {
	client   *kgo.Client
	assigned map[int32]bool
}

var members = map[string]*member{}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var ask question
		answer, err := map[string]any{}, json.Unmarshal(lines.Bytes(), &ask)
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			answer, err = do(ctx, ask)
			cancel()
		}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		line, _ := json.Marshal(answer)
		fmt.Println(string(line))
	}
}

func do(ctx context.Context, ask question) (map[string]any, error) {
	switch ask.Do {
	case "write":
		return map[string]any{}, write(ctx, ask)
	case "read":
		return read(ctx, ask)
	case "topics":
		return topics(ctx, ask)
	case "ends":
		return ends(ctx, ask)
	case "join":
		return map[string]any{}, join(ask)
	case "poll":
		return poll(ctx, members[ask.Member])
	case "leave":
		// Close leaves the group, too.
		members[ask.Member].client.Close()
		delete(members, ask.Member)
		return map[string]any{}, nil
	}
	return nil, fmt.Errorf("no verb %q", ask.Do)
}

func client(ask question, more ...kgo.Opt) (*kgo.Client, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(ask.Bootstrap, ",")...), kgo.FetchMaxWait(100 * time.Millisecond),
		// A failed test shows the end of it.
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelInfo, nil)),
	}
	return kgo.NewClient(append(options, more...)...)
}

func write(ctx context.Context, ask question) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	options := []kgo.Opt{
		kgo.DefaultProduceTopic(ask.Topic), kgo.ProducerBatchCompression(codecs[ask.Codec]),
		kgo.ProducerLinger(20 * time.Millisecond),
	}
	inTransaction := ask.How == "commit" || ask.How == "abort"
	if inTransaction {
		options = append(options, kgo.TransactionalID(ask.TransactionalID))
	}
	if ask.How == "plain" {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	producer, err := client(ask, options...)
	if err != nil {
		return err
	}
	defer producer.Close()
	if inTransaction {
		if err := begin(ctx, producer); err != nil {
			return err
		}
	}
	var records []*kgo.Record
	for _, one := range ask.Records {
		written := &kgo.Record{Key: bytes(one.Key), Value: bytes(one.Value)}
		if one.Timestamp != nil {
			written.Timestamp = time.UnixMilli(*one.Timestamp)
		}
		for _, header := range one.Headers {
			written.Headers = append(written.Headers, kgo.RecordHeader{Key: *header[0], Value: bytes(header[1])})
		}
		records = append(records, written)
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	if inTransaction {
		return producer.EndTransaction(ctx, kgo.TransactionEndTry(ask.How == "commit"))
	}
	return nil
}

// While the markers of this id's last transaction are being written, a broker answers CONCURRENT_TRANSACTIONS, and
// franz-go leaves it to its user to try again.
func begin(ctx context.Context, producer *kgo.Client) error {
	for {
		err := producer.BeginTransaction()
		if err == nil || ctx.Err() != nil || !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func bytes(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}

func text(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	text := string(bytes)
	return &text
}

func plain(read *kgo.Record) record {
	timestamp := read.Timestamp.UnixMilli()
	headers := [][2]*string{}
	for _, header := range read.Headers {
		headers = append(headers, [2]*string{&header.Key, text(header.Value)})
	}
	return record{read.Partition, read.Offset, &timestamp, text(read.Key), text(read.Value), headers}
}

// Reads up to the ends as they are now: those of the log, or the last stable offsets.
func read(ctx context.Context, ask question) (map[string]any, error) {
	level := kgo.ReadUncommitted()
	if ask.Committed {
		level = kgo.ReadCommitted()
	}
	// The positions behind markers are known only with control records kept.
	reader, err := client(ask, kgo.ConsumeTopics(ask.Topic), kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	admin := kadm.NewClient(reader)
	found, err := admin.ListEndOffsets(ctx, ask.Topic)
	if ask.Committed {
		found, err = admin.ListCommittedOffsets(ctx, ask.Topic)
	}
	if err != nil {
		return nil, err
	}
	records, behind := []record{}, map[int32]int64{}
	found.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			behind[end.Partition] = end.Offset
		}
	})
	for len(behind) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%w; %d records read, ends not reached: %v", err, len(records), behind)
		}
		fetches.EachRecord(func(one *kgo.Record) {
			if !one.Attrs.IsControl() {
				records = append(records, plain(one))
			}
			if end, ok := behind[one.Partition]; ok && one.Offset+1 >= end {
				delete(behind, one.Partition)
			}
		})
	}
	return map[string]any{"records": records}, nil
}

func topics(ctx context.Context, ask question) (map[string]any, error) {
	asker, err := client(ask)
	if err != nil {
		return nil, err
	}
	defer asker.Close()
	details, err := kadm.NewClient(asker).ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, topic := range details {
		counts[topic.Topic] = len(topic.Partitions)
	}
	return map[string]any{"topics": counts}, nil
}

func ends(ctx context.Context, ask question) (map[string]any, error) {
	asker, err := client(ask)
	if err != nil {
		return nil, err
	}
	defer asker.Close()
	found, err := kadm.NewClient(asker).ListEndOffsets(ctx, ask.Topic)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, ask.Partitions)
	for number := range ends {
		end, _ := found.Lookup(ask.Topic, int32(number))
		if end.Err != nil {
			return nil, end.Err
		}
		ends[number] = end.Offset
	}
	return map[string]any{"ends": ends}, nil
}

func join(ask question) error {
	joined := &member{assigned: map[int32]bool{}}
	// Called from within a poll, so no lock is needed.
	set := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			for _, number := range changed[ask.Topic] {
				if has {
					joined.assigned[number] = true
				} else {
					delete(joined.assigned, number)
				}
			}
		}
	}
	// Real brokers take no session below 6 seconds; members hear of each other by heartbeats.
	reader, err := client(ask, kgo.ConsumerGroup(ask.Group), kgo.ConsumeTopics(ask.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(200*time.Millisecond), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(set(true)), kgo.OnPartitionsRevoked(set(false)), kgo.OnPartitionsLost(set(false)))
	if err != nil {
		return err
	}
	joined.client = reader
	members[ask.Member] = joined
	return nil
}

func poll(ctx context.Context, one *member) (map[string]any, error) {
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	fetches := one.client.PollFetches(short)
	records := []record{}
	for _, failed := range fetches.Errors() {
		if failed.Err != context.DeadlineExceeded {
			return nil, failed.Err
		}
	}
	fetches.EachRecord(func(read *kgo.Record) { records = append(records, plain(read)) })
	if len(records) > 0 {
		if err := one.client.CommitUncommittedOffsets(ctx); err != nil {
			return nil, err
		}
	}
	assigned := []int{}
	for number := range one.assigned {
		assigned = append(assigned, int(number))
	}
	sort.Ints(assigned)
	one.client.AllowRebalance()
	return map[string]any{"records": records, "assigned": assigned}, nil
}
