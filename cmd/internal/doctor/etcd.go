package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"flanneld/cmd/internal/status"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/etcdapi"
	"flanneld/subnet/etcdsrv"
)

// member is what an endpoint of etcd's says of itself.
type member struct {
	endpoint string
	version  string              // such as "3.5.21"
	ahead    time.Duration       // of this host's clock, by the second
	asked    bool                // there is a clock to compare with
	certs    []*x509.Certificate // that vouch for it, its own first; nil: none were asked for
	err      error
}

// greetTime is the longest time for one endpoint.
const greetTime = 2 * time.Second

// greet asks each endpoint for its version, which needs no password and no API.
func greet(ctx context.Context, h *Host) ([]member, error) {
	o := h.Options.Etcd
	endpoints := o.Endpoints
	var err error
	if o.SRV != "" {
		if endpoints, err = (&etcdsrv.Finder{Domain: o.SRV, Secure: o.Secrets(), Log: discard()}).Endpoints(ctx, false); err != nil {
			return nil, err
		}
	}
	access, err := o.Credentials().Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	t := etcd.NewTransport(endpoints, access, etcd.NewDialer(greetTime, nil), greetTime)
	defer t.CloseIdleConnections()
	all := make([]member, len(endpoints))
	for i, e := range endpoints {
		all[i] = greetOne(ctx, t, e)
	}
	return all, nil
}

func greetOne(ctx context.Context, carry http.RoundTripper, endpoint string) member {
	m := member{endpoint: endpoint}
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(endpoint, "/")+"/version", http.NoBody)
	if err != nil {
		m.err = err
		return m
	}
	began := time.Now()
	resp, err := carry.RoundTrip(r)
	if err != nil {
		m.err = err
		return m
	}
	defer resp.Body.Close()
	// The server has stopped its clock somewhere in between, and its answer has whole seconds.
	middle := began.Add(time.Since(began) / 2)
	if there, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		m.ahead, m.asked = middle.Sub(there.Add(500*time.Millisecond)), true
	}
	if resp.TLS != nil {
		m.certs = lasting(resp.TLS.VerifiedChains)
	}
	var v struct {
		Etcdserver string `json:"etcdserver"`
	}
	const most = 4096 // bytes
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&v); err != nil || v.Etcdserver == "" {
		m.err = fmt.Errorf("%s: what answers there is no etcd", endpoint)
	}
	m.version = etcd.Line(v.Etcdserver)
	return m
}

// lookEtcd looks whether each endpoint answers, with an etcd that has the network's API.
func lookEtcd(ctx context.Context, h *Host) Result {
	if errors.Is(h.StoreErr, fs.ErrPermission) {
		return skip("it needs root: %v", h.StoreErr)
	}
	const flags = "# check --etcd-endpoints, and the certificates and the password, in /etc/default/flanneld"
	members, err := greet(ctx, h)
	if err != nil {
		return fail("%v", err).mend(flags)
	}
	var dead, versions []string
	for _, m := range members {
		if m.err != nil {
			dead = append(dead, m.err.Error())
		} else if !slices.Contains(versions, m.version) {
			versions = append(versions, m.version)
		}
	}
	k := h.know(ctx)
	api := apiOf(h)
	if h.StoreErr == nil && k.etcd != nil && !errors.Is(k.etcd, config.ErrNone) && len(versions) > 0 {
		return fail("etcd %s answers, but not what flanneld asks: %v", joinList(versions), k.etcd).with(dead...).mend("# the error says what to do", flags)
	}
	switch {
	case len(versions) == 0:
		return fail("no endpoint answers: %s", dead[0]).with(dead[1:]...).mend("systemctl status etcd   # on its hosts; packets go on meanwhile", flags)
	case len(dead) > 0:
		return warn("%d of %d endpoints do not answer: %s", len(dead), len(members), dead[0]).with(dead[1:]...).mend("systemctl status etcd   # on that host")
	case errors.Is(k.configErr, config.ErrNone):
		return fail("etcd %s has no configuration below %s", joinList(versions), h.Options.Etcd.Prefix).
			mend("# write one, or name the right --etcd-prefix (docs/configuration.md)")
	case k.configErr != nil:
		return fail("the configuration below %s cannot be used: %v", h.Options.Etcd.Prefix, k.configErr).mend("# docs/configuration.md")
	case len(versions) > 1:
		return warn("the members are of several versions: %s", joinList(versions)).mend("# end the upgrade of etcd")
	}
	if h.Status.Etcd.State == status.Failing || h.Status.Etcd.WatchFailing {
		return warn("etcd answers here, and not to the daemon: %s", h.Status.Etcd.LastError).mend("journalctl -u flanneld -n 50 --no-pager")
	}
	return pass("etcd %s at %s answers, with the network in its %s API", versions[0], counted(len(members), "endpoint"), orNone(api))
}

// apiOf returns the API in which the network lies; empty: it is not known.
func apiOf(h *Host) string {
	if c, ok := h.Store.(interface{ Decided() etcdapi.API }); ok && c.Decided() != "" {
		return string(c.Decided())
	}
	return h.Status.Etcd.API
}

// The differences of clocks that a host stands, and that are a fault. Leases go by clocks that
// nobody sets; certificates and what is kept over a reboot do not.
const (
	clockWarn = 10 * time.Second
	clockFail = 5 * time.Minute
)

// lookClock compares this host's clock with those of etcd's members.
func lookClock(ctx context.Context, h *Host) Result {
	members, err := greet(ctx, h)
	if err != nil {
		return skip("%v", err)
	}
	return clocks(members)
}

func clocks(members []member) Result {
	var far member
	for _, m := range members {
		if m.asked && (!far.asked || m.ahead.Abs() > far.ahead.Abs()) {
			far = m
		}
	}
	if !far.asked {
		return skip("no endpoint of etcd tells its time")
	}
	off := far.ahead.Round(time.Second)
	saw := fmt.Sprintf("this host's clock is %s ahead of that of %s", off, far.endpoint)
	if off < 0 {
		saw = fmt.Sprintf("this host's clock is %s behind that of %s", -off, far.endpoint)
	}
	switch {
	case off.Abs() >= clockFail:
		return fail("%s", saw).mend("timedatectl set-ntp true   # here and there", "chronyc makestep   # where chrony runs")
	case off.Abs() >= clockWarn:
		return warn("%s", saw).mend("timedatectl set-ntp true   # here and there")
	}
	return pass("%d s between this host's clock and that of %s", off.Abs()/time.Second, far.endpoint)
}
