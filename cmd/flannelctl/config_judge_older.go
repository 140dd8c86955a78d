package main

import (
	"fmt"
	"slices"
	"strconv"

	"flanneld/subnet"
)

// olderHosts looks at what older releases read in another way (docs/configuration.md,
// "Mixed clusters"), where hosts with such a release may be there.
func (j *judging) olderHosts() {
	all := slices.DeleteFunc(slices.Clone(j.leases), func(l subnet.Lease) bool { return l.Node != "" })
	if len(all) == 0 {
		return
	}
	const most = 1<<16 - 1
	if vni(j.is) > most && vni(j.was) <= most {
		j.refuse(fmt.Sprintf("releases 0.14 to 0.23 refuse leases that tell a VNI above %d, and there are hosts with an older release: %s", most, named(all, nil)),
			fmt.Sprintf("choose a VNI of %d at most", most))
	}
	if !j.older {
		return
	}
	if j.is.V6.Enabled() && (j.was == nil || !j.was.V6.Enabled()) {
		j.refuse(fmt.Sprintf("releases before 0.17 know no IPv6, 0.17 runs out of IPv6 subnets early, and there are hosts with an older release: %s", named(all, nil)),
			"upgrade these first")
	}
	if j.is.ambiguous() && (j.was == nil || !j.was.ambiguous() || j.was.V4.Network != j.is.V4.Network) {
		j.refuse(fmt.Sprintf("releases before 0.10 have another SubnetLen than %d for a network of /%d if none is written, and there are hosts with an older release: %s",
			j.is.V4.SubnetLen, j.is.V4.Network.Bits(), named(all, nil)), "write SubnetLen: --subnet-len="+strconv.Itoa(j.is.V4.SubnetLen))
	}
	// 0.14 and later tell their VNI.
	oldest := slices.DeleteFunc(all, func(l subnet.Lease) bool {
		_, tells := toldVNI(l)
		return tells || l.Type != j.is.Type
	})
	if j.is.swapped() && (j.was == nil || !j.was.swapped()) && len(oldest) > 0 {
		j.refuse(fmt.Sprintf("releases before 0.5.6 swap the bytes of a Port that is written, also of 8472, and there are hosts with 0.13 or older: %s", named(oldest, nil)),
			"leave the Port out: --port=")
	}
}

// vni is zero without one.
func vni(f *facts) uint64 {
	if f == nil {
		return 0
	}
	n, _ := strconv.ParseUint(f.options["VNI"], 10, 32) // empty: there is none
	return n
}

// ambiguous reports whether releases differ about the length of subnets.
func (f *facts) ambiguous() bool {
	const since = 23 // for larger networks all say 24
	return f.written.SubnetLen == nil && f.V4.Network.Bits() >= since
}

// swapped reports whether 0.5.5 uses another port than is written.
func (f *facts) swapped() bool { return f.Type == "vxlan" && f.written.Backend.Port != 0 }
