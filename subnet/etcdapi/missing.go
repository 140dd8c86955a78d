package etcdapi

import (
	"fmt"

	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
)

// example is a configuration to write.
const example = `'{"Network": "10.100.0.0/16"}'`

// removal is the command that deletes the configuration.
func removal(api API, prefix string) string {
	if api == V3 {
		return "ETCDCTL_API=3 etcdctl del " + etcd.ConfigKey(prefix)
	}
	return "ETCDCTL_API=2 etcdctl rm " + etcd.ConfigKey(prefix)
}

// writing is the command that writes a configuration.
func writing(api API, prefix string) string {
	if api == V3 {
		return "ETCDCTL_API=3 etcdctl put " + etcd.ConfigKey(prefix) + " " + example
	}
	return "ETCDCTL_API=2 etcdctl mk " + etcd.ConfigKey(prefix) + " " + example
}

// missing is the error of an API that has no configuration, which err says.
func missing(api API, prefix string, err error) error {
	return &config.Missing{Err: err, Where: fmt.Sprintf("etcd's %s API has none at %s", api, etcd.ConfigKey(prefix)),
		Remedy: fmt.Sprintf("write one, through etcd's %s API: %s", api, writing(api, prefix))}
}

// missingBoth is the error while no configuration is known of.
func missingBoth(prefix string, v2, v3 answer) error {
	switch {
	case v2.lacking():
		return missing(V3, prefix, v3.err)
	case v3.lacking():
		return missing(V2, prefix, v2.err)
	case !v3.none():
		return missing(V2, prefix, fmt.Errorf("%w; etcd's v3 API: %w", v2.err, v3.err))
	}
	return &config.Missing{Err: fmt.Errorf("%w; %w", v2.err, v3.err), Where: "etcd has none at " + etcd.ConfigKey(prefix) + ", through either of its APIs",
		Remedy: fmt.Sprintf("write one, through etcd's v3 API: %s; or through v2, for hosts with releases before 0.18: %s",
			writing(V3, prefix), writing(V2, prefix))}
}
