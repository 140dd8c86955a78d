package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
	"flanneld/subnet/memstore"
)

func TestRepeatedIsLoggedNowAndThenAtItsCallersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		say := repeated{log: slog.New(glog.New(&log, nil))}
		for range 61 {
			say.error("no configuration", 7)
			time.Sleep(time.Second)
		}
		_, _, here, _ := runtime.Caller(0)
		say.error("no configuration", 8)
		place := fmt.Sprintf("config_test.go:%d] no configuration", here-3)
		if n := strings.Count(log.String(), place); n != 3 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("log is %s, want three lines with %q, and one of another revision", &log, place)
		}
	})
}

func TestAwaitConfigRepeatsItsReasonEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		store := memstore.New()
		doc, err := store.Config(ctx)
		_, _, err = awaitConfig(ctx, store, answer{doc, err}, "/net/config", func(string) {}, slog.New(glog.New(&log, nil)))
		if err == nil || strings.Count(log.String(), "Couldn't fetch network config") != 4 {
			t.Errorf("%v; log is %s, want lines at 0, 30, 60 and 90 seconds", err, &log)
		}
	})
}

// Etcd names only the first part of the key that is not there, and no remedy.
func TestAConfigurationThatIsMissingIsSaidWithKeyAndRemedy(t *testing.T) {
	_, err := memstore.New().Config(t.Context())
	if err == nil {
		t.Fatal("there is one")
	}
	const key = "/net/config"
	got := cannotFetch(err, key)
	if !strings.HasPrefix(got, "Couldn't fetch network config: "+err.Error()) ||
		!strings.HasSuffix(got, `ETCDCTL_API=2 etcdctl mk /net/config '{"Network": "10.100.0.0/16"}')`) {
		t.Errorf("the log says %s", got)
	}
	if got := whyWaiting(err, key); !strings.Contains(got, key) {
		t.Errorf("STATUS= says %s", got)
	}
	if away := errors.New("etcd is away"); cannotFetch(away, key) != "Couldn't fetch network config: etcd is away" || whyWaiting(away, key) != "etcd is away" {
		t.Errorf("of an etcd that is away: %s, %s", cannotFetch(away, key), whyWaiting(away, key))
	}
}
