package offload

import "fmt"

// Error is what is wrong with a packet, or with the Header before it. It is small
// and dense, from 1 to NumErrors-1, and making one an error does not allocate.
type Error uint8

// What can be wrong.
const (
	ErrShort           Error = iota + 1 // shorter than its first header
	ErrIPv6                             // an IPv6 packet
	ErrVersion                          // neither IPv4 nor IPv6
	ErrHeaderLength                     // IPv4 header shorter than 20 bytes or longer than the packet
	ErrTotalLength                      // IPv4 total length less than the header, or more than there is
	ErrFragment                         // a fragment whose header asks for offloads
	ErrGSOType                          // unknown kind of large packet, or not that of its protocol
	ErrGSOSize                          // segments without payload
	ErrChecksumField                    // checksum to complete is outside the packet, or not where its protocol has it
	ErrTransportHeader                  // TCP or UDP header cut off or longer than the packet
	ErrSegments                         // more than MaxSegments

	// NumErrors is one more than the largest Error: the length of an array that
	// an Error can index.
	NumErrors = int(ErrSegments) + 1
)

func (e Error) Error() string {
	texts := [NumErrors]string{
		ErrShort:           "packet is too short",
		ErrIPv6:            "packet is IPv6",
		ErrVersion:         "IP version is unknown",
		ErrHeaderLength:    "IP header length is wrong",
		ErrTotalLength:     "IP total length is wrong",
		ErrFragment:        "fragment asks for offload",
		ErrGSOType:         "segmentation type is wrong",
		ErrGSOSize:         "segment size is zero",
		ErrChecksumField:   "checksum field is misplaced",
		ErrTransportHeader: "transport header is cut off",
		ErrSegments:        "too many segments",
	}
	if int(e) >= NumErrors || texts[e] == "" {
		return fmt.Sprintf("offload error %d", uint8(e))
	}
	return texts[e]
}
