// Package fastpath lets the kernel move the packets of the udp backend between two hosts
// that can both do so, in the same wire format: three programs (fastpath.c) and a VXLAN-GPE
// device. What they leave alone goes to the engine, as if they were not there.
//
// It decides which peers' packets they take, and when this host may announce that it takes
// packets so. A host that has announced gets packets as only the kernel makes them, 64 KB
// long and with checksums that nobody has computed, so nothing is taken on trust:
//
//   - Before anything is attached, the programs are run on packets that are made up.
//   - This host announces after a ping has come by the device (Path.Announces), and
//     withdraws when packets stop coming by it, as with a firewall that has closed its port.
//   - A peer that announces is sent such packets after a ping of full length, sent in this
//     way, was answered, and for as long as one is.
//   - What has come in this way once is taken for some time after either has withdrawn.
//
// It does not know leases, nor who makes the device and attaches the programs: Link and
// Filters are values for that.
package fastpath
