package firewall

import (
	"net/netip"
	"slices"
	"strings"

	"flanneld/pkg/firewall/nft"
)

// Refused returns the senders to a tunnel's port that this host's daemons have refused in the
// last two minutes, whatever their prefix, since no lease publishes them.
func Refused() (all []netip.Addr, err error) {
	var kernel nft.Kernel
	tables, err := kernel.Tables()
	if err != nil {
		return nil, err
	}
	for _, id := range tables {
		if id.Family != nft.Inet || !ownTable(id) {
			continue
		}
		for _, family := range []string{"4", "6"} {
			some, _ := kernel.Remembered(id, setRefused+family) // of a backend without a tunnel there is none
			all = append(all, some...)
		}
	}
	return all, nil
}

// Jump reports whether a chain is a daemon's own that FORWARD jumps to.
func Jump(chain string) bool {
	return strings.HasPrefix(chain, chainForward) && anyChain.MatchString(chain)
}

// ForDocker reports whether a comment is that of a daemon's rule among Docker's.
func ForDocker(comment string) bool { return anyComment.MatchString(comment) }

// Strays returns the tables of nftables that are a daemon's, but of none with one of the
// Policy.Prefixes.
func Strays(prefixes []string) (strays []nft.ID, err error) {
	var kernel nft.Kernel
	tables, err := kernel.Tables()
	if err != nil {
		return nil, err
	}
	for _, id := range tables {
		if ownTable(id) && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasSuffix(id.Name, namesFor(p).last()) }) {
			strays = append(strays, id)
		}
	}
	return strays, nil
}

// last returns how the names of tables end.
func (n names) last() string {
	if n.suffix != "" {
		return n.suffix
	}
	return "flanneld"
}
