package alloc_test

import (
	"flag"
	"testing"

	"flanneld/backend/alloc"
	"flanneld/backend/backendtest"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

func TestBackend(t *testing.T) {
	backendtest.Run(t, backendtest.Configured(alloc.Configure), `{"Type":"alloc"}`)
}

func TestGolden(t *testing.T) {
	backendtest.Golden(t, backendtest.Configured(alloc.Configure), nil, map[string]backendtest.Case{
		"nothing":              {Planes: backendtest.DualStack(2, 3)},
		"blackhole":            {Planes: backendtest.Blackhole(backendtest.DualStack(2))},
		"after-vxlan":          {Have: backendtest.Tunnel("flannel.1", 1), Planes: backendtest.IPv4()},
		"after-host-gw":        {Have: backendtest.Gateways(), Planes: backendtest.DualStack()},
		"blackhole-turned-off": {Before: backendtest.Blackhole(backendtest.IPv4()), Planes: backendtest.IPv4()},
	}, *update)
}

func TestLeaseAndMTU(t *testing.T) { backendtest.Plain(t, backendtest.Configured(alloc.Configure), "") }
