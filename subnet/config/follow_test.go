package config_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/glog"
	"flanneld/subnet/config"
	"flanneld/subnet/memstore"
)

func reader(source config.Source, log *bytes.Buffer) config.Reader {
	return config.Reader{Source: source, Accept: func(config.Config) error { return nil }, Log: slog.New(glog.New(log, nil))}
}

func TestAwaitLogsAnotherRevisionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		store := memstore.New()
		store.SetConfig(`{}`)
		doc, err := store.Config(ctx)
		time.AfterFunc(45*time.Second, func() { store.SetConfig(`{}`) })
		_, _, err = reader(store, &log).Await(ctx, doc, err, func(string) {})
		if err == nil || strings.Count(log.String(), "] Couldn't fetch network config: ") != 3 || strings.Count(log.String(), "] failed to retrieve network config: ") != 3 || strings.Count(log.String(), "\n") != 6 {
			t.Errorf("%v; log is %s, want lines at 0, 30 and 45 seconds", err, &log)
		}
	})
}

func TestAwaitRepeatsItsReasonEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		store := memstore.New()
		doc, err := store.Config(ctx)
		_, _, err = reader(store, &log).Await(ctx, doc, err, func(string) {})
		if err == nil || strings.Count(log.String(), "Couldn't fetch network config") != 4 {
			t.Errorf("%v; log is %s, want lines at 0, 30, 60 and 90 seconds", err, &log)
		}
	})
}

// away is a store that does not answer.
type away struct{ config.Source }

func (away) Config(context.Context) (config.Document, error) {
	return config.Document{}, errors.New("etcd is away")
}

// placed is a store that says where a document is missing.
type placed struct{ config.Source }

func (s placed) Config(ctx context.Context) (config.Document, error) {
	doc, err := s.Source.Config(ctx)
	return doc, &config.Missing{Err: err, Where: "there is none at /net/config", Remedy: "write one at /net/config"}
}

func TestAMissingDocumentIsLoggedWithItsPlaceAndRemedy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			source        config.Source
			suffix, state string
		}{
			{placed{memstore.New()}, " (write one at /net/config)\n", "there is none at /net/config"},
			{away{}, "etcd is away\n", "etcd is away"},
		} {
			var log bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			doc, err := tt.source.Config(ctx)
			told, text := "", err.Error()
			_, _, _ = reader(tt.source, &log).Await(ctx, doc, err, func(reason string) { told = reason })
			if got := log.String(); !strings.Contains(got, "Couldn't fetch network config: "+text) || !strings.HasSuffix(got, tt.suffix) {
				t.Errorf("the log says %s", got)
			}
			if told != tt.state {
				t.Errorf("STATUS= says %s, want %s", told, tt.state)
			}
		}
	})
}
