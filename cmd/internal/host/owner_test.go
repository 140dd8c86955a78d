package host

import (
	"strings"
	"testing"

	"flanneld/backend/underlay"
)

func TestAliasesFitAndDiffer(t *testing.T) {
	if got := Owner("/coreos.com/network"); got != "flanneld /coreos.com/network" {
		t.Errorf("the usual alias is %q", got)
	}
	long := "/" + strings.Repeat("a", maxAlias-len(underlay.AliasPrefix)-1)
	seen := make(map[string]string)
	for _, prefix := range []string{long, long + "b", long + "c", long + strings.Repeat("d", 1000)} {
		alias := Owner(prefix)
		if len(alias) > maxAlias || !strings.HasPrefix(alias, underlay.AliasPrefix) {
			t.Errorf("alias of %d bytes: %q", len(alias), alias)
		}
		if other, taken := seen[alias]; taken {
			t.Errorf("%s and %s have one alias", other, prefix)
		}
		seen[alias] = prefix
	}
}

// TestADeviceIsClaimedOnce by one process, for as long as it wants.
func TestADeviceIsClaimedOnce(t *testing.T) {
	device := "test" + strings.TrimPrefix(t.TempDir(), "/tmp/")[:12] // the claim is this machine's
	var first, second Claims
	for range 2 {
		if err := first.Claim(device); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.Claim(device); err == nil || !strings.Contains(err.Error(), device+" is that of another flanneld") {
		t.Errorf("claimed by two: %v", err)
	}
	first.Release()
	if err := second.Claim(device); err != nil {
		t.Error(err)
	}
	second.Release()
}
