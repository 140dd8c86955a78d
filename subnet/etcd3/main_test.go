package etcd3

import (
	"os"
	"testing"

	"flanneld/subnet/storetest"
)

// Most tests wait most of the time, and so run together.
func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
