package backend

// Entrance says how packets of the overlay come into this host, for those who
// have to let them in, or to keep others out.
type Entrance struct {
	// Device is the overlay's own interface; empty: there is none, or not yet.
	Device string
	// Direct: packets may come in by the underlay's interface as they are.
	Direct bool
	// Port is the UDP port of the kernel's tunnel, and VNI its number there. A
	// backend that looks itself at who sends has none.
	Port uint16
	VNI  uint32
}

// Receiving is a Backend into which packets come. Entrance may change with Set, and
// is called by whoever calls that.
type Receiving interface{ Entrance(v6 bool) Entrance }
