package main

import (
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// walSegmentBytes is the size of the files that etcd's log is made of. Each is
// written full of zeros before it is used; with etcd's own 64 MB that is most of
// a start, and two are there at any time.
const walSegmentBytes = 2 << 20

// config is what the options mean to etcd.
func config(o options, log *zap.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir = o.Name, o.DataDir
	c.EnableV2 = true

	c.ListenClientUrls, c.AdvertiseClientUrls = o.Clients, o.Advertise
	c.ListenPeerUrls, c.AdvertisePeerUrls = o.Peers, o.AdvertisePeers
	c.ClientTLSInfo, c.PeerTLSInfo = tlsInfo(o.ClientTLS), tlsInfo(o.PeerTLS)
	var members []string
	for _, m := range o.Members {
		for _, u := range m.URLs {
			members = append(members, m.Name+"="+u.String())
		}
	}
	c.InitialCluster, c.InitialClusterToken = strings.Join(members, ","), o.Token
	c.ClusterState = embed.ClusterStateFlagNew
	if o.Join {
		c.ClusterState = embed.ClusterStateFlagExisting
	}

	c.TickMs = uint(o.Heartbeat / time.Millisecond)
	c.ElectionMs = uint(o.Election / time.Millisecond)
	c.SnapshotCount, c.MaxSnapFiles, c.MaxWalFiles = o.SnapshotCount, 3, 3
	c.QuotaBackendBytes = o.QuotaBytes
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	c.ExperimentalBootstrapDefragThresholdMegabytes = 16
	c.UnsafeNoFsync = o.NoFsync

	// A door less: it is JSON for v3, and would need a certificate as a client
	// of its own server.
	c.EnableGRPCGateway = false

	c.LogLevel = o.LogLevel
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return c
}

func tlsInfo(t tlsFiles) transport.TLSInfo {
	return transport.TLSInfo{CertFile: t.Cert, KeyFile: t.Key, TrustedCAFile: t.CA, ClientCertAuth: t.CA != ""}
}
