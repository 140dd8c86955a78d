package etcdapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/glog"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/etcdapi"
	etcdproc "flanneld/subnet/storetest/etcd"
)

const (
	doc2 = `{"Network":"10.2.0.0/16"}`
	doc3 = `{"Network":"10.3.0.0/16"}`
)

// choice is one between both APIs of an etcd, and its log.
func choice(t *testing.T, endpoints ...string) (*etcdapi.Choice, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(glog.New(&out, nil))
	v2, err := etcd2.New(etcd2.Options{Endpoints: endpoints, Prefix: "/net", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	v3, err := etcd3.New(etcd3.Options{Endpoints: endpoints, Prefix: "/net", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	c := etcdapi.New(etcdapi.Options{V2: v2, V3: v3, Prefix: "/net", Log: log})
	t.Cleanup(c.Close)
	return c, &out
}

func etcdctl(t *testing.T, api, url string, args ...string) {
	t.Helper()
	cmd := exec.Command("etcdctl", append([]string{"--endpoints=" + url}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API="+api)
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("etcdctl is not installed (Debian: etcd-client)")
		}
		t.Fatalf("etcdctl %s: %v: %s", args, err, out)
	}
}

func TestEachReleaseIsUsedByTheAPIThatItHas(t *testing.T) {
	etcdproc.EachRelease(t, func(t *testing.T, program etcdproc.Program) {
		url := program.Start(t).URL
		c, log := choice(t, url)
		doc, err := c.Config(t.Context())
		if !errors.Is(err, config.ErrNone) || !strings.Contains(err.Error(), "flannel config not found in etcd store. Did you create your config using etcdv3 API?") {
			t.Fatalf("Config = %+v, %v", doc, err)
		}
		etcdctl(t, "3", url, "put", "/net/config", doc3)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if doc, err = c.AwaitConfig(ctx, doc.Rev); err != nil || string(doc.Raw) != doc3 || c.Decided() != etcdapi.V3 {
			t.Fatalf("AwaitConfig = %s, %v; log %s", doc.Raw, err, log)
		}
		l := subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.3.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1")}}
		if _, err := c.Create(t.Context(), l, time.Minute); err != nil {
			t.Error(err)
		}
		if all, _, err := c.Leases(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("leases are %v, %v", all, err)
		}
	})
}

// A member with the API makes it the cluster's, in whatever order they are named.
func TestOneMemberOfSeveralHasTheV2API(t *testing.T) {
	members := etcdproc.StartCluster(t, 3)
	etcdctl(t, "2", members[2].URL, "mk", "/net/config", doc2)
	etcdctl(t, "3", members[2].URL, "put", "/net/config", doc3)
	for i := range 2 { // one by one, so that the others are a quorum
		members[i].Stop()
		p, err := etcdproc.Run(t.Context(), members[i].Dir, "--enable-v2=false")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		members[i] = p
	}
	urls := []string{members[0].URL, members[1].URL, members[2].URL}
	for range 6 { // the client begins with any
		c, log := choice(t, urls...)
		if doc, err := c.Config(t.Context()); err != nil || c.Decided() != etcdapi.V2 || string(doc.Raw) != doc2 {
			t.Fatalf("Config = %s, %v; log %s", doc.Raw, err, log)
		}
		c.Close()
		urls = slices.Concat(urls[1:], urls[:1])
	}
	// Those without it are asked alone: it is the cluster of another network.
	c, log := choice(t, urls[0], urls[1])
	if _, err := c.Config(t.Context()); err != nil || c.Decided() != etcdapi.V3 || !strings.Contains(log.String(), "this etcd has no v2 API") {
		t.Errorf("%v; log %s", err, log)
	}
}

func TestAV2APIThatAsksWhoItIsDoesNotMeanV3(t *testing.T) {
	url := etcdproc.Start(t)
	etcdctl(t, "3", url, "put", "/net/config", doc3)
	etcdctl(t, "2", url, "user", "add", "root:rootpass")
	etcdctl(t, "2", url, "auth", "enable")
	etcdctl(t, "2", url, "-u", "root:rootpass", "role", "revoke", "guest", "-path", "/*", "-readwrite")
	c, _ := choice(t, url)
	_, err := c.Config(t.Context())
	if err == nil || c.Decided() != "" || !strings.Contains(err.Error(), "110: The request requires user authentication") ||
		!strings.Contains(err.Error(), "etcd's v3 API has one: give --etcd-api=v3 if that is the one") {
		t.Errorf("error %v; it is %q", err, c.Decided())
	}
}
