package etcd

import "path"

// ConfigKey is where the configuration is, below a prefix, in either API.
func ConfigKey(prefix string) string { return path.Join("/", prefix, "config") }
