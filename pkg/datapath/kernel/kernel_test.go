package kernel

import (
	"os"
	"strings"
	"testing"

	"flanneld/pkg/datapath/kerneltest"
	"flanneld/pkg/netlab/labtest"
)

// TestKernel needs root: each case has a network namespace of its own.
func TestKernel(t *testing.T) {
	labtest.Native(t)
	kerneltest.Run(t, func(t *testing.T) (kerneltest.Kernel, kerneltest.Host) {
		enter(t)
		if _, err := os.Stat("/dev/net/tun"); err != nil && strings.Contains(t.Name(), "tun_") {
			t.Skip(err)
		}
		return Kernel{}, byHand{}
	})
}
