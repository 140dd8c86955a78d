//go:build no_etcd3

package main

import (
	"log/slog"
	"strings"
	"testing"

	"flanneld/cmd/internal/options"
	"flanneld/subnet/etcdapi"
)

// It is run by make sizes.
func TestAProgramWithoutV3SaysSo(t *testing.T) {
	for api, want := range map[string]etcdapi.API{"auto": etcdapi.V2, "v2": etcdapi.V2, "v3": ""} {
		o, _, err := options.Parse([]string{"--etcd-api=" + api}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newStore(o.Etcd, etcdapi.V3, slog.New(slog.DiscardHandler))
		if want != "" && (err != nil || s.Decided() != want) {
			t.Errorf("%s: %v", api, err)
		}
		if want == "" && (err == nil || !strings.Contains(err.Error(), "--etcd-api=v3: this flanneld was built without etcd's v3 API")) {
			t.Errorf("%s: error %v", api, err)
		}
	}
}
