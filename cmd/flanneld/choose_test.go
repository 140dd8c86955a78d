//go:build !no_etcd3

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/glog"
	"flanneld/pkg/tlsfile/tlstest"
	"flanneld/subnet/config"
	"flanneld/subnet/etcdapi"
	etcdproc "flanneld/subnet/storetest/etcd"
)

func TestTheStoreIsThatWhichTheFlagsName(t *testing.T) {
	url := etcdproc.Start(t)
	// /tls/config, in base64
	resp, err := http.Post(url+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"L3Rscy9jb25maWc=","value":"e30="}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	ca := tlstest.New(t, t.TempDir(), "ca", time.Now().Add(time.Hour))
	for name, row := range map[string]struct {
		flags string
		last  etcdapi.API
		is    etcdapi.API
		err   string // of Config
	}{
		"auto":   {"--etcd-endpoints=" + url, "", "", "or through v2, for hosts"},
		"v2":     {"--etcd-endpoints=" + url + " --etcd-api=v2 --etcd-cafile=", "", etcdapi.V2, "through etcd's v2 API: ETCDCTL_API=2 etcdctl mk /net/config"},
		"v3":     {"--etcd-endpoints=" + url + " --etcd-api=v3", etcdapi.V2, etcdapi.V3, "through etcd's v3 API: ETCDCTL_API=3 etcdctl put /net/config"},
		"by DNS": {"--etcd-srv=invalid", etcdapi.V3, "", "find etcd by --etcd-srv=invalid"},
		"v3, with TLS files and http": {"--etcd-endpoints=" + url + " --etcd-prefix=/tls --etcd-cafile=" + ca.File, "", "",
			"the network lies in etcd's v3 API, and the TLS files have no effect on endpoints with http:// (write https://"},
		"none, with TLS files and http": {"--etcd-endpoints=" + url + " --etcd-cafile=" + ca.File, "", "", "or through v2, for hosts"},
		"no etcd":                       {"--etcd-endpoints=http://127.0.0.1:1", "", "", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, err := options.Parse(append([]string{"--etcd-prefix=/net"}, strings.Fields(row.flags)...), nil)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			s, err := newStore(o.Etcd, row.last, slog.New(glog.New(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.Config(t.Context())
			text := err.Error()
			if m, ok := errors.AsType[*config.Missing](err); ok {
				text = m.Remedy
			}
			if s.Decided() != row.is || !strings.Contains(text, row.err) {
				t.Errorf("it is %q: %v; log %s", s.Decided(), text, &log)
			}
		})
	}
}
