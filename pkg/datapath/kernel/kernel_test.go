package kernel

import (
	"log/slog"
	"testing"

	"flanneld/pkg/datapath/kerneltest"
)

// TestKernel needs root: each case has a network namespace of its own.
func TestKernel(t *testing.T) {
	kerneltest.Run(t, func(t *testing.T) (kerneltest.Kernel, kerneltest.Host) {
		enter(t)
		return New(slog.New(slog.DiscardHandler)), byHand{}
	})
}
