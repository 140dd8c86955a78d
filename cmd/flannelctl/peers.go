package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/status"
)

const peersHelp = `Print the subnets of other hosts, and whether packets are forwarded to them. The
worst come first: those that the kernel refused (failed), those that the backend
cannot forward to (skipped), leases that cannot be peers (ignored), those that
wait for the next pass (pending), and those in place (programmed). It asks the
daemon; without one the exit status is 2.

With --probe it sends a few pings through the overlay to each peer in place, and
looks for the largest packet that passes. RTT is the mean time, LOSS the share of
small packets that are lost, MTU the largest packet that came back. A black hole
loses larger packets without an error. Root may probe, and groups that may ping.

The exit status is 0 if all peers are in place and 1 if not; with --probe also 1
for a peer that does not answer, or a black hole. With -o json it prints what
docs/status.md describes as peers.`

func peersCommand(c *call) *cobra.Command {
	a, withProbe := &asking{call: c}, false
	cmd := &cobra.Command{
		Use:   "peers [--probe]",
		Short: "Show the other hosts, and which are not reached",
		Long:  peersHelp,
		Example: `  flannelctl peers
  flannelctl peers --probe
  flannelctl peers -o json | jq -r '.list[] | select(.state == "failed") | .publicIP'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showPeers(cmd.Context(), a, withProbe) },
	}
	cmd.Flags().BoolVar(&withProbe, "probe", false, "measure times, losses and the largest packet")
	return a.asksDaemon(cmd)
}

func showPeers(ctx context.Context, a *asking, withProbe bool) error {
	s, err := a.ask(ctx, status.MostPeers)
	switch {
	case err != nil:
		return err
	case s.PID == 0:
		return unclear{failure{fmt.Errorf("flanneld does not answer: %s", s.NotReady[0]), "flannelctl status shows what it has left; journalctl -u flanneld says why it ended"}}
	case withProbe:
		return showProbes(ctx, a, s)
	case a.output == "json":
		if s.Peers.List == nil {
			s.Peers.List = []status.Peer{}
		}
		err = a.printJSON(struct {
			Schema int `json:"schema"`
			status.Peers
		}{schema, s.Peers})
	default:
		_, err = a.stdout.Write(peerTable(s))
	}
	switch {
	case err != nil:
		return failure{err, ""}
	case s.Peers.Programmed < s.Peers.Wanted:
		return errNotWell
	}
	return nil
}

// peerTable is the list with one line of counts behind it.
func peerTable(s status.Status) []byte {
	w := new(bytes.Buffer)
	if len(s.Peers.List) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SUBNET\tPUBLIC IP\tBACKEND\tPATH\tSTATE\tSINCE\tREASON")
		for _, p := range s.Peers.List {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Subnet, orDash(address(p.PublicIP)), orDash(clean(p.Backend)), orDash(clean(p.Path)),
				p.State, age(s.Time, p.Since), orDash(clean(p.Reason)))
		}
		_ = table.Flush() // to memory
	}
	fmt.Fprintf(w, "%d of %s in place", s.Peers.Programmed, count(s.Peers.Wanted, "peer"))
	for _, about := range aboutPeers(s.Peers) {
		fmt.Fprintf(w, ", %s", about)
	}
	if s.Peers.Omitted > 0 {
		fmt.Fprintf(w, "; %d are not listed", s.Peers.Omitted)
	}
	fmt.Fprintln(w)
	return w.Bytes()
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
