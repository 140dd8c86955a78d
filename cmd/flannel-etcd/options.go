package main

import (
	"net/url"
	"strings"
	"time"
)

// options is what the command line and the environment ask for, checked as far
// as that is possible without looking at the data.
type options struct {
	DataDir string // etcd's directory; "member" in it is etcd's own

	Name      string // this member's
	Clients   urls   // where clients are listened to; at least one
	Advertise urls   // where members tell clients to go; at least one
	ClientTLS tlsFiles

	Peers          urls // where the other members are listened to
	AdvertisePeers urls // where they find this one
	PeerTLS        tlsFiles
	Members        []member // of a cluster that is yet to be made, this one included
	Join           bool     // the cluster exists already, and has been told of this member
	Token          string   // tells clusters apart that were made with the same URLs

	Heartbeat time.Duration // between leader and followers; whole milliseconds
	Election  time.Duration // without a heartbeat, after which a leader is elected; at least 5 heartbeats

	SnapshotCount uint64 // writes between two snapshots
	QuotaBytes    int64  // of the v3 keys; past it only deletions are taken
	NoFsync       bool   // for tests: a power failure loses data

	LogLevel  string // of etcd's own messages: debug, info, warn or error
	LogFormat string // "glog" or "json"

	Version bool // print the version and leave; the other fields are not checked
	Help    bool // print the usage and leave; the other fields are not checked
}

// member is one of a cluster.
type member struct {
	Name string
	URLs urls // where the other members find it; at least one
}

// tlsFiles are paths of PEM files. The zero value means no TLS.
type tlsFiles struct {
	Cert, Key string // both or neither
	CA        string // if set, whoever connects needs a certificate of it
}

// urls are http or https, with a host, a port and nothing else.
type urls []url.URL

func (us urls) String() string {
	var all []string
	for _, u := range us {
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// usageError is a mistake in how the program was called. main prints both
// parts and exits with status 2.
type usageError struct {
	Msg  string // what is wrong
	Hint string // what to do about it; may be empty
}

func (e usageError) Error() string { return e.Msg }
