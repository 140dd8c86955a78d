package backend_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/fake"
)

// unread is a kernel that fails when it is asked what there is.
type unread struct {
	*fake.Kernel
	err error
}

func (k unread) Read(ctx context.Context, s datapath.Scope) (datapath.State, error) {
	if k.err != nil {
		return datapath.State{}, k.err
	}
	return k.Kernel.Read(ctx, s)
}

// TestWhatIsSparedIsToldOfWhatIsKnown: a pass that could not look knows nothing of it.
func TestWhatIsSparedIsToldOfWhatIsKnown(t *testing.T) {
	for _, failure := range []error{nil, errors.New("netlink is away")} {
		told := 0
		plan := backend.Plan{Spare: func(datapath.Object) bool { return true }, Spared: func(error) { told++ }}
		r := datapath.Reconciler{Kernel: unread{fake.New(), failure}, Log: slog.New(slog.DiscardHandler)}
		if _, _, err := plan.Apply(t.Context(), datapath.Scope{}, &r); !errors.Is(err, failure) || (told == 1) != (failure == nil) {
			t.Errorf("a look that ends with %v: told %d times, %v", failure, told, err)
		}
	}
}

func TestMetricIsTheKernelsDefault(t *testing.T) {
	for p, want := range map[string]uint32{"10.5.0.0/16": 0, "0.0.0.0/0": 0, "fd00:5::/48": 1024, "::/0": 1024} {
		if got := backend.Metric(netip.MustParsePrefix(p)); got != want {
			t.Errorf("Metric(%s) = %d, want %d", p, got, want)
		}
	}
}
