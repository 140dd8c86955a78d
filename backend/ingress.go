package backend

// Ingress says how packets of the overlay come into this host, for the firewall
// that lets them in or keeps others out.
type Ingress struct {
	Device string // the overlay's own interface; empty: there is none, or not yet
	Direct bool   // packets may come in by the underlay's interface without a tunnel

	// Port is the UDP port of the kernel's tunnel, and VNI its number there. A
	// backend that checks itself who sends has neither.
	Port uint16
	VNI  uint32
}

// Receiving is a Backend that packets come in through. Ingress may change with Set,
// and only the goroutine that calls Set may call it.
type Receiving interface{ Ingress(v6 bool) Ingress }
