package datapath

import (
	"fmt"
	"net"
)

// MAC is an Ethernet address. The zero MAC means none.
type MAC [6]byte

// ParseMAC reads a MAC in any form that net.ParseMAC knows. Longer hardware
// addresses are an error.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		// It may come from anybody, and be of any length; net's error repeats it.
		return MAC{}, fmt.Errorf("parse MAC %.40q: not six hexadecimal bytes with colons or hyphens between", s)
	}
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("parse MAC %.40q: %d bytes instead of 6", s, len(hw))
	}
	return MAC(hw), nil
}

// String returns the lower-case colon form.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// IsZero reports whether there is no address.
func (m MAC) IsZero() bool { return m == MAC{} }

// Unicast reports whether m is the address of one interface: neither a group
// address nor zero.
func (m MAC) Unicast() bool { return m[0]&1 == 0 && !m.IsZero() }
