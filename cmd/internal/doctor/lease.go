package doctor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"flanneld/pkg/envfile"
	"flanneld/subnet"
)

func lookDaemon(_ context.Context, h *Host) Result {
	s := h.Status
	switch {
	case !h.alive():
		return fail("%s", s.NotReady[0]).mend("systemctl start flanneld", "journalctl -u flanneld -n 50 --no-pager   # why it ended")
	case s.Failure != "":
		return fail("process %d ends: %s", s.PID, s.Failure).mend("journalctl -u flanneld -n 50 --no-pager")
	}
	return pass("process %d answers on %s", s.PID, h.Options.StatusSocket)
}

func lookLease(ctx context.Context, h *Host) Result {
	l := h.Status.Lease
	if h.alive() {
		switch l.State {
		case subnet.Held.String():
		case subnet.AtRisk.String():
			return warn("%s is at risk: %s", h.key(), l.Reason).mend("flannelctl status   # what is wrong with etcd")
		default:
			return fail("%s is %s: %s", h.key(), l.State, l.Reason).mend("flannelctl status   # what is wrong with etcd")
		}
	}
	until := "it is a reservation"
	if !l.Reserved {
		until = "nobody here knows until when"
		if left := time.Until(l.Expires).Round(time.Minute); !l.Expires.IsZero() {
			until = fmt.Sprintf("it ends in %s", left)
			if left <= 0 {
				return fail("%s has ended at %s: another host may have it", h.key(), l.Expires.UTC().Format(time.RFC3339)).mend("systemctl restart flanneld")
			}
		}
	}
	k := h.know(ctx)
	own, found := h.own(ctx)
	switch {
	case k.etcd != nil:
		return pass("%s, %s; etcd could not be asked", h.key(), until)
	case !found:
		return fail("etcd has no lease on %s", h.key()).mend("systemctl restart flanneld   # takes it again, or another one")
	case l.PublicIP.IsValid() && own.V4.PublicIP != l.PublicIP:
		return fail("etcd says that %s is at %s, and this host publishes %s", h.key(), own.V4.PublicIP, l.PublicIP).
			mend("systemctl restart flanneld   # takes another subnet; then restart Docker")
	}
	return pass("%s at %s, %s", h.key(), own.V4.PublicIP, until)
}

func lookSubnetFile(_ context.Context, h *Host) Result {
	file := h.Options.SubnetFile
	vars, err := envfile.Read(file)
	again := []string{"systemctl reload flanneld   # writes it again", "systemctl restart docker"}
	switch want := first(h.key().V4).String(); {
	case err != nil:
		return fail("%v", err).mend(again...)
	case vars == nil:
		return fail("there is no %s, so that Docker is told no subnet at its next start", file).mend(again...)
	case vars["FLANNEL_SUBNET"] != want:
		return fail("%s says FLANNEL_SUBNET=%s, and the lease is on %s", file, vars["FLANNEL_SUBNET"], h.key()).mend(again...)
	case h.alive() && vars["FLANNEL_MTU"] != strconv.Itoa(h.Status.Backend.MTU):
		return fail("%s says FLANNEL_MTU=%s, and the overlay's MTU is %d", file, vars["FLANNEL_MTU"], h.Status.Backend.MTU).mend(again...)
	}
	return pass("%s says %s and MTU %s", file, h.key(), vars["FLANNEL_MTU"])
}
