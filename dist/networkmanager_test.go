package dist_test

import "time"

// networkManager has NetworkManager start, start again and give up networking, as
// before a suspend, with the file that tells it to leave the device alone and without.
// The daemon does not run meanwhile, and so puts nothing right.
func networkManager(f *farm, h, from *host) {
	f.Helper()
	// Like networkd, it waits for udevd as long as /sys can be written. What else the
	// host has is nobody's business here.
	h.write("/run/systemd/system/NetworkManager.service.d/lab.conf", "[Service]\nReadOnlyPaths=/sys\n")
	h.write("/etc/NetworkManager/conf.d/60-lab.conf", "[keyfile]\nunmanaged-devices+=interface-name:eth*,interface-name:docker*,interface-name:veth*\n")
	state := func() string {
		return h.sh(`ip -o link show flannel.1; ip -o addr show dev flannel.1; ip route show dev flannel.1; ip -6 route show dev flannel.1
			ip neigh show dev flannel.1 nud permanent; bridge fdb show dev flannel.1
			grep . /proc/sys/net/ipv[46]/conf/flannel.1/forwarding /proc/sys/net/ipv6/conf/flannel.1/addr_gen_mode`)
	}
	same := func(before, what string) {
		f.Helper()
		if now := state(); now != before {
			f.Fatalf("%s has changed the device. It was\n%s\nand is\n%s", what, before, now)
		}
	}
	leftAlone := func() {
		f.Helper()
		// It has looked at all devices when it says that it has started.
		if err := h.until(20*time.Second, "nmcli -t -f startup general && nmcli -t -f device,state device", `(?m)^started(\n.*)*\nflannel.1:unmanaged$`); err != nil {
			f.Fatal(err)
		}
	}
	s := f.ping(from, h)
	h.sh("systemctl stop flanneld && systemctl daemon-reload")
	before := state()

	h.sh("systemctl start NetworkManager")
	leftAlone()
	same(before, "NetworkManager's start")
	h.sh("systemctl restart NetworkManager")
	leftAlone()
	same(before, "NetworkManager's restart")
	h.sh("nmcli networking off && nmcli networking on")
	same(before, "NetworkManager, being told to do without networks,")
	s.lossless()

	// In the place of ours, one that says nothing.
	h.write("/etc/NetworkManager/conf.d/50-flannel.conf", "")
	h.sh("systemctl restart NetworkManager")
	if err := h.until(20*time.Second, "nmcli -t -f device,state device", `(?m)^flannel.1:connected \(externally\)$`); err != nil {
		f.Fatal(err)
	}
	same(before, "NetworkManager, without our file,") // so far
	h.sh("nmcli networking off")
	if err := h.until(20*time.Second, "ip -o -4 addr show dev flannel.1; echo end", "^end$"); err != nil {
		f.Fatalf("the file is not needed any more: %v", err)
	}
	f.Logf("without the file:\n%s", state())

	h.sh(`nmcli networking on && systemctl stop NetworkManager
		rm -r /etc/NetworkManager/conf.d/50-flannel.conf /etc/NetworkManager/conf.d/60-lab.conf /run/systemd/system/NetworkManager.service.d
		systemctl daemon-reload && systemctl start flanneld`)
}
