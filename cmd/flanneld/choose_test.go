package main

import (
	"strings"
	"testing"
)

func TestTheRemedyForAMissingConfigurationNamesItsKey(t *testing.T) {
	r := documentReader(nil, "/net", nil)
	if !strings.HasSuffix(r.Remedy, `ETCDCTL_API=2 etcdctl mk /net/config '{"Network": "10.100.0.0/16"}'`) {
		t.Errorf("the log says %s", r.Remedy)
	}
	if !strings.Contains(r.Missing, "/net/config") {
		t.Errorf("STATUS= says %s", r.Missing)
	}
}
