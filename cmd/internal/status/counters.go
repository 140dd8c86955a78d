package status

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
)

// countersEvery is how often counters are logged.
const countersEvery = time.Minute

// LogCounters logs the backend's counters that have changed, once a minute, until ctx is
// done.
func LogCounters(ctx context.Context, b *Board, log *slog.Logger) error {
	if !log.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	last := make(map[string]uint64)
	for backoff.Sleep(ctx, countersEvery) == nil {
		var changed []any
		for _, c := range b.BackendCounters() {
			if c.Value != last[c.Name] {
				changed = append(changed, c.Name, c.Value)
				last[c.Name] = c.Value
			}
		}
		if changed != nil {
			log.Debug("Counters", changed...)
		}
	}
	return nil
}

const (
	sampleEvery = 10 * time.Second
	mostSamples = 60 // ten minutes
)

// SampleTraffic has the Board remember what the overlay's device has moved lately, and what
// the backend counts, until ctx is done. So nobody who reads either asks the kernel.
func SampleTraffic(ctx context.Context, b *Board) error {
	for {
		device := b.Status().Backend.Device
		sample, ok := readSample("/sys/class/net/", device)
		counters := counted(b.BackendCounters())
		b.change(func(now time.Time) {
			b.journal.counters = counters
			if !ok {
				return
			}
			sample.Time = now
			b.journal.traffic = append(b.journal.traffic, sample)
			if n := len(b.journal.traffic); n > mostSamples {
				b.journal.traffic = append([]Sample(nil), b.journal.traffic[n-mostSamples:]...)
			}
		})
		if backoff.Sleep(ctx, sampleEvery) != nil {
			return nil
		}
	}
}

// countersFor is how long counters are served after they were read: the kernel is asked once a
// second at most, by however many clients.
const countersFor = time.Second

// lately are the backend's counters, as they were read lately.
type lately struct {
	mu   sync.Mutex // is held while they are read: who comes meanwhile gets the same
	when time.Time
	list []backend.Counter
}

func (l *lately) counters(b *Board) []backend.Counter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil || time.Since(l.when) >= countersFor {
		l.list, l.when = b.BackendCounters(), time.Now()
	}
	return l.list
}

// readSample reads a device's statistics, which the kernel has as files: one look costs no
// dump of all devices.
func readSample(dir, device string) (s Sample, ok bool) {
	if device == "" {
		return s, false
	}
	var rxDropped, txDropped uint64
	for name, into := range map[string]*uint64{"rx_bytes": &s.RxBytes, "tx_bytes": &s.TxBytes, "rx_packets": &s.RxPackets,
		"tx_packets": &s.TxPackets, "rx_dropped": &rxDropped, "tx_dropped": &txDropped} {
		text, err := os.ReadFile(dir + device + "/statistics/" + name)
		if err != nil {
			return s, false
		}
		if *into, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return s, false
		}
	}
	s.Dropped = rxDropped + txDropped
	return s, true
}

// counted returns what the backend counts, as Counters.
func counted(all []backend.Counter) []Counter {
	list := make([]Counter, len(all))
	for i, c := range all {
		list[i] = Counter{Name: c.Name, Value: c.Value}
	}
	return list
}
