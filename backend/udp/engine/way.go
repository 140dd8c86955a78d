package engine

import (
	"bytes"
	"encoding/binary"

	"flanneld/pkg/offload"
)

// WayPing is the ICMP identifier, and WayWord the beginning of the data, of the pings by which
// a fast path asks whether another one takes its packets and answers.
const (
	WayPing = 0xf1a3
	WayWord = "kway"
)

// isWayPing reports whether an ICMP message is such a ping, or the answer to one. If it is here no
// fast path has taken it. Nobody gets it, so that the one who has asked goes on without.
func isWayPing(packet offload.IPv4) bool {
	icmp := packet.Payload()
	return !packet.IsFragment() && len(icmp) >= 12 && (icmp[0] == echoRequest || icmp[0] == echoReply) &&
		binary.BigEndian.Uint16(icmp[4:]) == WayPing && bytes.HasPrefix(icmp[8:], []byte(WayWord))
}
