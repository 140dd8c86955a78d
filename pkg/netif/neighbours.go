package netif

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// NeighbourTable is how many entries the kernel's ARP table may have, of all namespaces.
type NeighbourTable struct {
	Soft, Hard uint32 // gc_thresh2, and gc_thresh3, beyond which there are none
	Fulls      uint64 // how often an entry was refused since the boot; 0: never, or an older kernel
}

// Attributes of neighbour tables, and where table_fulls is in struct ndt_stats
// (linux/neighbour.h).
const (
	ndtaName    = 1
	ndtaThresh2 = 3
	ndtaThresh3 = 4
	ndtaStats   = 7
	fullsAt     = 10 * 8
)

// Neighbours returns the ARP table's limits, which anybody may see in any namespace.
func Neighbours() (NeighbourTable, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGHTBL, unix.NLM_F_DUMP)
	request.AddData(nl.NewRtGenMsg())
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGHTBL)
	if err != nil {
		return NeighbourTable{}, fmt.Errorf("read the limits of the neighbour tables: %w", err)
	}
	for _, m := range messages {
		if t, ok := parseNeighbourTable(m); ok {
			return t, nil
		}
	}
	return NeighbourTable{}, fmt.Errorf("read the limits of the neighbour tables: the kernel names none for ARP")
}

// parseNeighbourTable reads a RTM_NEWNEIGHTBL payload, if it is ARP's with its limits.
func parseNeighbourTable(m []byte) (t NeighbourTable, ok bool) {
	const header = 4 // bytes of struct ndtmsg
	if len(m) < header {
		return t, false
	}
	attrs, err := nl.ParseRouteAttrAsMap(m[header:])
	if err != nil || unix.ByteSliceToString(attrs[ndtaName].Value) != "arp_cache" {
		return t, false
	}
	soft, hard := attrs[ndtaThresh2].Value, attrs[ndtaThresh3].Value
	if len(soft) < 4 || len(hard) < 4 {
		return t, false // a device's own
	}
	t.Soft, t.Hard = binary.NativeEndian.Uint32(soft), binary.NativeEndian.Uint32(hard)
	if stats := attrs[ndtaStats].Value; len(stats) >= fullsAt+8 {
		t.Fulls = binary.NativeEndian.Uint64(stats[fullsAt:])
	}
	return t, true
}
