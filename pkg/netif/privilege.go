package netif

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// CheckPrivilege returns an error that is unix.EPERM if the kernel would not let this
// process change the network; its text names the program. The kernel is asked, since a
// capability counts only in the user namespace that the network belongs to.
func CheckPrivilege(program string) error {
	// The change of no link: EINVAL for those who might make one.
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (run %s as root, or with the capability CAP_NET_ADMIN)", err, program)
	}
	return nil
}
