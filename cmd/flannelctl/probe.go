package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/cmd/internal/probe"
	"flanneld/cmd/internal/status"
)

// probedPeers are peers with what a probe has found.
type probedPeers struct {
	Schema int `json:"schema"`
	status.Peers
	List []probedPeer `json:"list"` // instead of theirs
}

type probedPeer struct {
	status.Peer
	Probe *probed `json:"probe,omitempty"` // absent: it is not in place
}

// probed is a probe.Result as JSON.
type probed struct {
	Address   netip.Addr `json:"address"`
	Sent      int        `json:"sent"`
	Received  int        `json:"received"`
	LeastRTT  float64    `json:"leastRTTSeconds,omitempty"`
	MeanRTT   float64    `json:"meanRTTSeconds,omitempty"`
	MostRTT   float64    `json:"mostRTTSeconds,omitempty"`
	MTU       int        `json:"mtu,omitempty"`
	BlackHole bool       `json:"blackHole"`
	Error     string     `json:"error,omitempty"`
}

func showProbes(ctx context.Context, a *asking, s status.Status) error {
	peers, err := probePeers(ctx, s, a.stderr)
	switch {
	case err != nil:
		return err
	case a.output == "json":
		err = a.printJSON(peers)
	default:
		_, err = a.stdout.Write(probeTable(peers, s))
	}
	switch lost, holes := peers.bad(); {
	case err != nil:
		return failure{err, ""}
	case s.Peers.Programmed < s.Peers.Wanted || lost > 0 || holes > 0:
		return errNotWell
	}
	return nil
}

// probePeers probes all that are in place, and puts the worst first.
func probePeers(ctx context.Context, s status.Status, stderr io.Writer) (all probedPeers, err error) {
	var addresses []netip.Addr
	all = probedPeers{Schema: schema, Peers: s.Peers, List: make([]probedPeer, len(s.Peers.List))}
	for i, p := range s.Peers.List {
		if all.List[i].Peer = p; p.State == status.PeerProgrammed {
			addresses = append(addresses, probe.Address(p.Backend, p.Subnet))
		}
	}
	progress, end := showProgress(stderr, len(addresses))
	results, err := probe.Run(ctx, addresses, probe.Options{MTU: s.Backend.MTU, Progress: progress})
	end()
	switch {
	case ctx.Err() != nil:
		return all, failure{errors.New("it was interrupted before all peers were probed"), ""}
	case errors.Is(err, fs.ErrPermission):
		return all, unclear{failure{err, "run it as root, or let your group ping: sysctl -w net.ipv4.ping_group_range='0 2147483647'"}}
	case err != nil:
		return all, unclear{failure{err, ""}}
	}
	for i := range all.List {
		if p := &all.List[i]; p.State == status.PeerProgrammed {
			p.Probe, results = asProbed(results[0]), results[1:]
		}
	}
	slices.SortStableFunc(all.List, probedPeer.compare)
	return all, nil
}

func asProbed(r probe.Result) *probed {
	p := &probed{Address: r.Address, Sent: r.Sent, Received: r.Received, LeastRTT: r.Least.Seconds(), MeanRTT: r.Mean.Seconds(), MostRTT: r.Most.Seconds(),
		MTU: r.MTU, BlackHole: r.BlackHole}
	if r.Err != nil {
		p.Error = r.Err.Error()
	}
	return p
}

// rank orders peers: those that are not in place as they were.
func (p probedPeer) rank() int {
	switch {
	case p.Probe == nil:
		return 0
	case p.Probe.Received == 0:
		return 1
	case p.Probe.BlackHole:
		return 2
	case p.Probe.Received < p.Probe.Sent:
		return 3
	}
	return 4
}

func (p probedPeer) compare(o probedPeer) int { return cmp.Compare(p.rank(), o.rank()) }

// bad counts peers that do not answer, and black holes.
func (p probedPeers) bad() (lost, holes int) {
	for _, peer := range p.List {
		switch peer.rank() {
		case 1:
			lost++
		case 2:
			holes++
		}
	}
	return lost, holes
}

// probeTable is the list with one line of counts behind it.
func probeTable(peers probedPeers, s status.Status) []byte {
	w := new(bytes.Buffer)
	if len(peers.List) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SUBNET\tPUBLIC IP\tSTATE\tRTT\tLOSS\tMTU\tREASON")
		for _, p := range peers.List {
			rtt, loss, mtu, reason := "-", "-", "-", p.Reason
			if r := p.Probe; r != nil {
				reason = r.reason(s.Backend.MTU)
				loss = fmt.Sprintf("%d%%", 100*(r.Sent-r.Received)/max(r.Sent, 1))
				if r.Received > 0 {
					rtt = fmt.Sprintf("%.2f ms", r.MeanRTT*1000)
				}
				if r.MTU > 0 {
					mtu = fmt.Sprint(r.MTU)
				}
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Subnet, orDash(address(p.PublicIP)), p.State, rtt, loss, mtu, orDash(clean(reason)))
		}
		_ = table.Flush() // to memory
	}
	fmt.Fprintf(w, "%d of %s in place", s.Peers.Programmed, count(s.Peers.Wanted, "peer"))
	about := aboutPeers(s.Peers)
	lost, holes := peers.bad()
	about.add(lost > 0, "%d without an answer", lost)
	about.add(holes > 0, "%s", count(holes, "black hole"))
	about.add(s.Peers.Omitted > 0, "%d not probed", s.Peers.Omitted)
	for _, text := range about {
		fmt.Fprintf(w, ", %s", text)
	}
	fmt.Fprintln(w)
	return w.Bytes()
}

// reason says what is wrong with a peer that should pass packets of so many bytes.
func (p *probed) reason(mtu int) string {
	switch {
	case p.Received == 0 && p.Error != "":
		return p.Error
	case p.Received == 0:
		return "no answer from " + p.Address.String()
	case p.BlackHole:
		return fmt.Sprintf("black hole: packets of %d to %d bytes are lost silently", p.MTU+1, mtu)
	case p.MTU > 0 && p.MTU < mtu:
		return fmt.Sprintf("the overlay's MTU here is %d", mtu)
	}
	return ""
}

// showProgress returns what shows on a terminal how far something is, and what takes that
// away again.
func showProgress(w io.Writer, of int) (progress func(int), end func()) {
	show, end := onTerminal(w)
	var last time.Time
	progress = func(done int) {
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			show(fmt.Sprintf("%d of %s probed", done, count(of, "peer")))
		}
	}
	progress(0)
	return progress, end
}

// onTerminal returns what shows a line on a terminal in the place of the one before, and what
// takes it away again. Elsewhere they do nothing.
func onTerminal(w io.Writer) (show func(string), end func()) {
	if !isTerminal(w) {
		return func(string) {}, func() {}
	}
	const blank = "\r\x1b[K"
	return func(line string) { fmt.Fprint(w, blank+line) }, func() { fmt.Fprint(w, blank) }
}

// isTerminal reports whether a person sees what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
