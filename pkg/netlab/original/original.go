// Package original imitates a host of the original's release 0.28.9 for tests of whole
// daemons: what it asks etcd's v3 API and writes there, when it exits, and the routes and
// entries that it makes. The facts are those of CONTRACT.md, sections 2 to 6. Where that
// release is patient with what harms it, this is not, so that a test sees it at once.
// It knows nothing of this project's daemon, and makes no firewall rules.
package original

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"flanneld/pkg/envfile"
)

// errRevoked: its key is gone. The host exits with status 0.
var errRevoked = errors.New("Lease has been revoked. Shutting down daemon.")

type host struct {
	release            string
	endpoints, prefix  string
	username, password string
	publicIP           string
	subnetFile         string
	margin             time.Duration // before a lease's end at which it is renewed
	masq               bool
	log                *log.Logger
	network            network
	external           external
	plane              plane
	own                lease
	renew              chan os.Signal // SIGUSR1 stands for the time at which a lease is renewed
	store              *store
}

// Main runs the host, of release 0.28.9, or 0.5.5 as far as the udp backend's packets go, until a signal or a reason of its own ends it, and returns its exit
// status. SIGUSR1 makes it renew its lease.
func Main(release string, args []string, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	h := &host{release: release, log: log.New(stderr, "", 0), renew: make(chan os.Signal, 1)}
	signal.Notify(h.renew, unix.SIGUSR1)
	if err := h.flags(args[1:]); err != nil {
		return 0 // with the usage
	}
	err := h.run(ctx)
	switch {
	case ctx.Err() != nil:
		h.log.Print("Exiting cleanly...")
	case errors.Is(err, errRevoked):
		h.log.Print(err)
	default:
		h.log.Print("error: ", err)
		return 1
	}
	return 0
}

func (h *host) flags(args []string) error {
	set := flag.NewFlagSet("flanneld", flag.ContinueOnError)
	set.StringVar(&h.endpoints, "etcd-endpoints", "http://127.0.0.1:2379", "")
	set.StringVar(&h.prefix, "etcd-prefix", "/coreos.com/network", "")
	set.StringVar(&h.username, "etcd-username", "", "")
	set.StringVar(&h.password, "etcd-password", "", "")
	set.StringVar(&h.publicIP, "public-ip", "", "")
	set.StringVar(&h.subnetFile, "subnet-file", "/run/flannel/subnet.env", "")
	set.BoolVar(&h.masq, "ip-masq", false, "")
	minutes := set.Int("subnet-lease-renew-margin", 60, "")
	// Scripts give these to every daemon. The release has no such flags.
	set.String("state-dir", "", "")
	set.String("etcd-api", "", "")
	err := set.Parse(args)
	h.margin = time.Duration(*minutes) * time.Minute
	return err
}

func (h *host) run(ctx context.Context) (err error) {
	if h.store, err = open(clientv3.Config{Endpoints: strings.Split(h.endpoints, ","), Username: h.username, Password: h.password}, h.prefix); err != nil {
		return fmt.Errorf("Failed to create SubnetManager: %w", err)
	}
	defer h.store.Close()
	if h.network, err = h.awaitNetwork(ctx); err != nil {
		return err
	}
	if h.external, err = defaultInterface(h.publicIP); err != nil {
		return err
	}
	if h.plane, err = planeOf(h.release, h.network, h.external); err != nil {
		return fmt.Errorf("Error fetching backend: %w", err)
	}
	revision, expires, err := h.acquire(ctx)
	if err != nil {
		return fmt.Errorf("Error registering network: failed to acquire lease: %w", err)
	}
	if err := h.plane.up(h.own.subnet); err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	if err := h.writeSubnetFile(); err != nil {
		h.log.Print("Failed to write subnet file: ", err)
	}
	if err := ready(); err != nil {
		return err
	}
	h.log.Print("Running backend.")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f := &follower{log: h.log, store: h.store, plane: h.plane, own: h.own.subnet, peers: make(map[string]lease)}
		f.follow(ctx)
	}()
	cancel(h.hold(ctx, revision, expires))
	<-ended
	h.plane.down()
	return context.Cause(ctx)
}

// awaitNetwork asks once a second, for ever.
func (h *host) awaitNetwork(ctx context.Context) (network, error) {
	for {
		text, err := h.store.config(ctx)
		if err == nil {
			var n network
			if n, err = parseNetwork(text); err == nil {
				h.log.Print("Found network config - Backend type: ", n.Backend.Type)
				return n, nil
			}
		}
		h.log.Print("Couldn't fetch network config: ", err)
		if err := wait(ctx, time.Second); err != nil {
			return network{}, err
		}
	}
}

func (h *host) writeSubnetFile() error {
	if err := os.MkdirAll(filepath.Dir(h.subnetFile), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s/%d\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=%v\n",
		h.network.net, h.own.subnet.Addr().Next(), h.own.subnet.Bits(), h.plane.mtu(), h.masq)
	temporary := h.subnetFile + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	h.log.Print("Wrote subnet file to ", h.subnetFile)
	return os.Rename(temporary, h.subnetFile)
}

// previous is the subnet of an earlier run, as it is written in the subnet file; empty if
// there is none.
func (h *host) previous() string {
	vars, err := envfile.Read(h.subnetFile)
	if err != nil {
		return ""
	}
	return vars["FLANNEL_SUBNET"]
}

// ready tells systemd.
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
